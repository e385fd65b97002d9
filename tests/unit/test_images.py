"""The Dockerfiles: what they copy, and how what they make runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ("ingest", "operator", "worker")
PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^ ]+)")


def dockerfile(component: str) -> str:
    """The text of a component's Dockerfile, continued lines joined."""
    return (ROOT / f"Dockerfile.{component}").read_text(encoding="utf-8").replace("\\\n", "")


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_holds_its_own_package_and_what_that_may_import(component: str) -> None:
    """The other components are not there to be attacked or to be imported by mistake."""
    copied = set(re.findall(r"(?m)^COPY \w+/(chaski_\w+) ", dockerfile(component)))
    assert copied == {"chaski_core", "chaski_runtime", "chaski_aws", f"chaski_{component}"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_runs_as_pod_security_restricted_asks(component: str) -> None:
    """A numeric user (the kubelet can't look names up), no shell between the kubelet's signals and the process."""
    text = dockerfile(component)
    assert re.search(r"(?m)^USER [1-9]\d+:[1-9]\d+$", text)
    assert re.search(rf'(?m)^ENTRYPOINT \["/opt/chaski/bin/chaski-{component}"\]$', text)
    assert "PYTHONSAFEPATH=1" in text


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_installs_what_the_tests_ran_with(component: str) -> None:
    """The same versions as in the lock file of the checkout."""
    own = dict(PINNED.findall((ROOT / "requirements" / f"{component}.txt").read_text(encoding="utf-8")))
    tested = dict(PINNED.findall((ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")))
    assert len(own) > 20
    assert {name: version for name, version in own.items() if tested.get(name) != version} == {}


@pytest.mark.parametrize("component", ["ingest", "worker"])
def test_only_the_operator_carries_the_operators_framework(component: str) -> None:
    """What an image does not hold needs no security updates."""
    own = dict(PINNED.findall((ROOT / "requirements" / f"{component}.txt").read_text(encoding="utf-8")))
    assert {"kopf", "kubernetes", "moto", "pytest"} & set(own) == set()
