"""The images that are built: what is in them, and what is not."""

import subprocess
from pathlib import Path

import pytest

from support.cluster import STATE, Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

COMPONENTS = ("ingest", "operator", "worker")
FOREIGN = ("chaski_cli", "chaski_embedded", "moto", "pytest", "pip")


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_holds_no_other_component(component: str, installed: Cluster) -> None:
    """Its own package can be imported by the user that it runs as; the others' can't."""
    image = next(line.split()[0] for line in images() if f"/chaski/{component}:" in line)
    others = [f"chaski_{name}" for name in COMPONENTS if name != component] + list(FOREIGN)
    script = (
        "import importlib.util, os, sys\n"
        f"assert importlib.util.find_spec('chaski_{component}.__main__')\n"
        f"found = [name for name in {others!r} if importlib.util.find_spec(name)]\n"
        "assert found == [] and os.getuid() == 65532 and sys.flags.safe_path, (found, os.getuid(), sys.flags)\n"
        "print('as it should be')\n"
    )
    name = f"look-{component}"
    security = '{"spec": {"securityContext": {"runAsNonRoot": true}}}'
    run = ("run", name, "-n", "default", f"--image={image}", "--restart=Never", f"--overrides={security}")
    try:
        installed.kubectl(*run, "--command", "--", "/opt/chaski/bin/python", "-c", script)
        phase = "--for=jsonpath={.status.phase}=Succeeded"
        waited = installed.try_kubectl("wait", "-n", "default", phase, f"pod/{name}", "--timeout=60s")
        said = installed.kubectl("logs", "-n", "default", name)
        assert (waited.returncode, said.strip()) == (0, "as it should be"), said
    finally:
        installed.try_kubectl("delete", "pod", "-n", "default", name, "--force", "--grace-period=0")


def images() -> list[str]:
    """`image archive` of each image of the cluster."""
    return (STATE / "images").read_text().splitlines()


def test_nothing_is_built_twice(installed: Cluster) -> None:
    """The same content has the same tag and is found in the cache."""
    del installed
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [str(root / "hack" / "cluster" / "images")], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.splitlines() == images()
