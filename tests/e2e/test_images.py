"""The images that are built: what is in them, and what is not."""

import subprocess
from pathlib import Path

import pytest

from support.cluster.cluster import STATE, Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

FOREIGN = ("moto", "pytest", "pip")
# Our packages that an image must not hold, by what it is for.
OTHERS = {
    "ingest": ("chaski_operator", "chaski_worker", "chaski_cli", "chaski_embedded", "chaski_replay"),
    "operator": ("chaski_ingest", "chaski_worker", "chaski_cli", "chaski_embedded"),
    "worker": ("chaski_ingest", "chaski_operator", "chaski_cli", "chaski_embedded", "chaski_replay"),
    "tools": ("chaski_operator",),
}


@pytest.mark.parametrize("component", list(OTHERS))
def test_an_image_holds_no_other_component(component: str, installed: Cluster) -> None:
    """Its own package can be imported by the user that it runs as; the others' can't."""
    image = next(line.split()[0] for line in images() if f"/chaski/{component}:" in line)
    package = "chaski_cli" if component == "tools" else f"chaski_{component}"
    others = [*OTHERS[component], *FOREIGN]
    script = (
        "import importlib.util, os, sys\n"
        f"assert importlib.util.find_spec('{package}.__main__')\n"
        f"found = [name for name in {others!r} if importlib.util.find_spec(name)]\n"
        "assert found == [] and os.getuid() == 65532 and sys.flags.safe_path, (found, os.getuid(), sys.flags)\n"
        "print('as it should be')\n"
    )
    namespace, name = "images", f"look-{component}"
    installed.namespace(namespace)
    container = {
        "name": "look",
        "image": image,
        "command": ["/opt/chaski/bin/python", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    metadata = {"name": name, "namespace": namespace}
    try:
        installed.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

        def ended() -> str | None:
            phase: str = installed.get("pod", "-n", namespace, name)["status"].get("phase", "")
            return phase if phase in ("Succeeded", "Failed") else None

        phase = installed.until(f"the end of {name}", ended, 120)
        log = installed.kubectl("logs", "-n", namespace, name)
        assert (phase, log.strip()) == ("Succeeded", "as it should be"), log
    finally:
        installed.try_kubectl("delete", "pod", "-n", namespace, name, "--force", "--grace-period=0")


def images() -> list[str]:
    """`image archive` of each image of the cluster."""
    return (STATE / "images").read_text().splitlines()


def test_nothing_is_built_twice(installed: Cluster) -> None:
    """The same content has the same tag and is found in the cache."""
    del installed
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [str(root / "hack" / "cluster" / "images")], capture_output=True, text=True, timeout=300, check=True
    )
    assert ran.stdout.splitlines() == images()
