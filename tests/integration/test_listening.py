"""Each process, started as in a Pod, answers the kubelet's probes on the Pod's address of either family."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.resolved import resolved_text
from support.tools import missing, need, need_ipv6

BIN = Path(sys.executable).parent
WITHIN = 90.0
UNSERVED = "http://127.0.0.1:9"  # nothing answers; a probe for liveness does not depend on it
CONSOLE = (
    "chaski",
    "console",
    "--resolved",
    "resolved.yaml",
    "--auth",
    "header",
    "--log-format",
    "json",
    "--port",
    "0",
)
CANARY = ("python", "-P", "-m", "chaski_ingest.canary", "--ingest", UNSERVED, "--sink-url", UNSERVED, "--route", "n/r")
COMMANDS: dict[str, tuple[str, ...]] = {
    "ingest": ("chaski-ingest", "--auth", "none", "--routes", "resolved.yaml", "--port", "0"),
    "worker": ("chaski-worker", "consume", "--route", "resolved.yaml"),
    "operator": ("chaski-operator", "--worker-image", "i"),
    "canary": (*CANARY, "--port", "0"),
    "console": (*CONSOLE, "--host="),
}
KUBECONFIG = {
    "clusters": [{"name": "c", "cluster": {"server": UNSERVED}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
    "current-context": "x",
}


@contextlib.contextmanager
def running(folder: Path, *command: str, by: Sequence[str] = ()) -> Iterator[dict[str, int]]:
    """A process in a folder with a route, started by a program such as setpriv: its ports, by the field of the log."""
    (folder / "resolved.yaml").write_text(resolved_text("r", f"{UNSERVED}/1/r.fifo"))
    (folder / "kubeconfig").write_text(json.dumps(KUBECONFIG))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CHASKI_"))}
    environment |= {"AWS_ENDPOINT_URL": UNSERVED, "AWS_DEFAULT_REGION": "us-east-1", "KUBECONFIG": "kubeconfig"}
    environment |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(
        [*by, str(BIN / command[0]), *command[1:], "--metrics-port", "0"],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + WITHIN
            while not (ready := [line for line in log.read_text().splitlines() if '"ready"' in line]):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            urls = re.findall(r'"chaski\.(\w+)\.url": ?"https?://[^/]+:(\d+)', ready[0])
            yield {name: int(port) for name, port in urls}
        finally:
            process.kill()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_process_answers_on_addresses_of_both_families(name: str, tmp_path: Path) -> None:
    """With the command line of a Pod; on every port."""
    need_ipv6()
    with running(tmp_path, *COMMANDS[name]) as ports:
        for address in ("127.0.0.1", "[::1]"):
            for port in ports.values():
                assert status(f"http://{address}:{port}/") > 0
            assert status(f"http://{address}:{ports['metrics']}/healthz") == 200


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "[::1]"), ("::1", "127.0.0.1")])
def test_a_given_address_is_the_only_one(host: str, other: str, tmp_path: Path) -> None:
    """Whichever the family."""
    need_ipv6()
    with (
        running(tmp_path, *COMMANDS["worker"], "--host", host) as ports,
        pytest.raises(urllib.error.URLError, match="refused"),
    ):
        status(f"http://{other}:{ports['metrics']}/healthz")


@pytest.mark.landing
@pytest.mark.parametrize("name", COMMANDS)
def test_a_process_runs_as_any_user(name: str, tmp_path: Path) -> None:
    """OpenShift chooses a user without an entry in /etc/passwd, of the group 0; it may read the image and write nowhere."""
    setpriv, reads = need("setpriv"), ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    by = (setpriv, "--reuid=1000680000", "--regid=0", "--clear-groups", *reads)
    if subprocess.run([*by, "true"], capture_output=True, check=False).returncode:
        missing("another user can be chosen only by root")
    tmp_path.chmod(0o755)
    with running(tmp_path, *COMMANDS[name], by=by) as ports:
        assert status(f"http://127.0.0.1:{ports['metrics']}/healthz") == 200


def status(url: str) -> int:
    """The status of the response; OSError: there is none."""
    try:
        with urllib.request.urlopen(url, timeout=WITHIN) as response:  # noqa: S310 - of our own process
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
