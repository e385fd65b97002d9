"""The examples of the repository in a cluster: applied as they are, they become Ready."""

import pytest
import yaml

from support.cluster.cluster import Cluster
from support.cluster.namespaces import EXAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


def test_every_example_becomes_ready(installed: Cluster) -> None:
    """`kubectl apply -f examples`, then `kubectl wait`, in namespaces that enforce restricted Pod security."""
    routes = [document for file in EXAMPLES for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    places = {(each["metadata"].get("namespace", "default"), each["metadata"]["name"]) for each in routes}
    assert len(places) > 3
    try:
        installed.kubectl("apply", *(f"--filename={file}" for file in EXAMPLES))
        for namespace, route in sorted(places):
            installed.ready(namespace, route)
    finally:
        installed.kubectl("delete", "--ignore-not-found", *(f"--filename={file}" for file in EXAMPLES))
