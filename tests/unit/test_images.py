"""The Dockerfiles: the packages in the images, and how they run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest", "operator", "worker")
COMPONENTS = (*SERVICES, "tools")
COMMANDS = {"tools": "chaski"} | {service: f"chaski-{service}" for service in SERVICES}
PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^ ]+)")


def dockerfile(component: str) -> str:
    """The text of a component's Dockerfile, continued lines joined."""
    return (ROOT / f"Dockerfile.{component}").read_text(encoding="utf-8").replace("\\\n", "")


def copied(component: str) -> set[str]:
    """Our packages that an image holds."""
    return set(re.findall(r"(?m)^COPY \w+/(chaski_\w+) ", dockerfile(component)))


@pytest.mark.parametrize("component", SERVICES)
def test_an_image_holds_its_own_package_and_what_that_may_import(component: str) -> None:
    """Other components can be neither attacked nor imported by mistake."""
    contract = {"chaski_replay"} if component == "operator" else set()  # of a replay's Job
    assert copied(component) == {"chaski_core", "chaski_runtime", "chaski_aws", f"chaski_{component}"} | contract


def test_the_tools_image_holds_what_the_commands_import() -> None:
    """Console, dead letters, provisioning and `chaski dev` run in it; it has no operator."""
    held = copied("tools")
    imports = (
        "chaski_console.process.service",
        "chaski_cli.ledger.by_ids",
        "chaski_cli.provisioning.deprovision",
        "chaski_cli.dead_letters.replay",
        "chaski_cli.dead_letters.search",
        "chaski_cli.route_files",
        "chaski_cli.sending.message",
        "chaski_cli.dev.process",
    )
    script = f"import sys; import {', '.join(imports)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert {each for each in loaded if each.startswith("chaski_") and "." not in each} == held
    assert "chaski_operator" not in held


def test_a_command_that_the_image_does_not_include_is_an_error() -> None:
    """With a next step, without a traceback."""
    script = "import sys; sys.modules['chaski_cli.dev.process'] = None; from chaski_cli.__main__ import main; main()"
    given = [sys.executable, "-c", script, "dev", "route.yaml"]
    ended = subprocess.run(given, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.splitlines()) == (
        1,
        ["chaski: this image does not include chaski_cli.dev.process", "next: run the command from a checkout"],
    )


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_runs_as_pod_security_restricted_asks(component: str) -> None:
    """A numeric user (the kubelet can't resolve user names), no shell between the kubelet's signals and the process."""
    text = dockerfile(component)
    assert re.search(r"(?m)^USER [1-9]\d+:[1-9]\d+$", text)
    assert re.search(rf'(?m)^ENTRYPOINT \["/opt/chaski/bin/{COMMANDS[component]}"\]$', text)
    assert "PYTHONSAFEPATH=1" in text


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_installs_what_the_tests_ran_with(component: str) -> None:
    """The same versions as in the lock file of the checkout."""
    own = dict(PINNED.findall((ROOT / "requirements" / f"{component}.txt").read_text(encoding="utf-8")))
    tested = dict(PINNED.findall((ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")))
    assert len(own) > 20
    assert {name: version for name, version in own.items() if tested.get(name) != version} == {}


@pytest.mark.parametrize(
    ("component", "absent"),
    [
        ("ingest", {"kopf", "kubernetes", "moto", "pytest"}),
        ("worker", {"kopf", "kubernetes", "moto", "pytest"}),
        ("tools", {"kopf", "moto", "pytest"}),  # `chaski console --kubernetes` uses the official client
    ],
)
def test_an_image_carries_only_what_its_processes_use(component: str, absent: set[str]) -> None:
    """What an image does not hold needs no security updates."""
    own = dict(PINNED.findall((ROOT / "requirements" / f"{component}.txt").read_text(encoding="utf-8")))
    assert absent & set(own) == set()
