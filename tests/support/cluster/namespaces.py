"""The teams' namespaces. An installation names those that it serves, so they exist from before the first test to the end."""

import os
from collections import Counter
from collections.abc import Iterable

import yaml

from support.cluster.cluster import ROOT

EXAMPLES = sorted(set((ROOT / "examples").glob("*.yaml")) - {ROOT / "examples" / "replay.yaml"})  # the routes
TENANTS = ("mallory", "bob")


class Namespaces:
    """Names of all namespaces of a run of the tests.

    Args:
        purposes: for each test that needs a namespace of its own, the first part of its name.
    """

    def __init__(self, purposes: Iterable[str]) -> None:
        run = os.urandom(2).hex()  # namespaces of an earlier run may still be Terminating
        numbers = {purpose: range(1, most + 1) for purpose, most in Counter(purposes).items()}
        self._free = [f"{purpose}-{number}-{run}" for purpose, each in numbers.items() for number in each]
        routes = [route for file in EXAMPLES for route in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
        of_examples = {route["metadata"].get("namespace", "default") for route in routes}
        self.tenants = tuple(f"tenant-{name}-{run}" for name in TENANTS)
        self.names = sorted({*self._free, *of_examples, *self.tenants})

    def take(self, purpose: str) -> str:
        """One that no test has used."""
        name = next(each for each in self._free if each.startswith(f"{purpose}-"))
        self._free.remove(name)
        return name
