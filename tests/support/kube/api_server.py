"""A real Kubernetes API server for tests: kube-apiserver and etcd, with RBAC and an audit log, on free ports.

All test processes of a run share one; a test that stops it starts its own. Tests create their own namespaces. No kubelet
runs: Pods stay pending, Deployments are only stored, owner references are followed.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.kube import certificates
from support.kube.server_keeper import START_SECONDS
from support.tools import missing, requires

ROOT = Path(__file__).resolve().parents[3]
NEEDED = ("kube-apiserver", "etcd", "kubectl")
CONTROLLER_MANAGER = "kube-controller-manager"
# They follow owner references and empty namespaces; none competes with a test for a Deployment's status.
CONTROLLERS = "garbage-collector-controller,namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller"
_STOP_SECONDS = 30.0
_KUBECTL_SECONDS = 60


@dataclass(frozen=True)
class KubeApi:
    """A running API server."""

    folder: Path
    server: str  # its URL
    programs: Path
    controllers: str  # the running controllers of Kubernetes

    def need_controllers(self) -> None:
        """Skips a test that needs controllers if `KUBEBUILDER_ASSETS` has none (`setup-envtest` installs none)."""
        if not self.controllers:
            missing(f"{self.programs} has no {CONTROLLER_MANAGER}")

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.folder / "admin.kubeconfig"

    @property
    def ca(self) -> Path:
        """The server's CA certificate."""
        return self.folder / "ca.crt"

    def user_kubeconfig(self, user: str, groups: Sequence[str] = ()) -> Path:
        """The kubeconfig of a user with this name and these groups."""
        return certificates.user_kubeconfig(self.folder, self.server, user, groups)

    def kubectl(self, *arguments: str, document: Any = None) -> str:
        """Runs kubectl as the admin; returns its output. `document` is its stdin: `kubectl("apply", "-f", "-", document=...)`."""
        ran = self.try_kubectl(*arguments, document=document)
        assert ran.returncode == 0, f"kubectl {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def try_kubectl(self, *arguments: str, document: Any = None) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as the admin, with any exit code."""
        command = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        stdin = "" if document is None else json.dumps(document)
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=_KUBECTL_SECONDS, check=False
        )

    def get(self, *arguments: str) -> Any:
        """`kubectl get -o json`."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def make_namespace(self, prefix: str = "test") -> str:
        """Creates a namespace of its own for a test, with the ServiceAccount `default`; returns its name."""
        name = f"{prefix}-{os.urandom(4).hex()}"
        self.kubectl("create", "namespace", name)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        self.kubectl("apply", "--server-side", "-f", "-", document=account)
        return name

    def install_crds(self) -> None:
        """Installs the CRDs; they are served on return."""
        self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        deadline = time.monotonic() + START_SECONDS
        # `kubectl wait` fails while a CRD has no conditions at all.
        while self.try_kubectl(
            "wait", "--for=condition=Established", "--timeout=10s", "-f", str(ROOT / "crds")
        ).returncode:
            assert time.monotonic() < deadline, "the CRDs were not established"
            time.sleep(0.1)

    def token(self, namespace: str, account: str, audience: str) -> str:
        """A token of a ServiceAccount for an audience, as in a projected volume."""
        return self.kubectl("create", "token", account, "-n", namespace, f"--audience={audience}").strip()

    def requests(self, user: str | None = None) -> list[dict[str, Any]]:
        """The audit log's entries (verb, user, objectRef, userAgent, ...); a watch has one when it ends."""
        lines = (self.folder / "audit.log").read_bytes().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [each for each in entries if user is None or each["user"].get("username") == user]

    @property
    def pid(self) -> int:
        """The process id of the running kube-apiserver."""
        return int((self.folder / "kube-apiserver.pid").read_text())

    def restart_controllers(self) -> None:
        """Kills the controller manager, which starts again and lists all objects.

        After failures the garbage collector waits for up to 1,000 s before it tries an object again.
        """
        os.kill(int((self.folder / f"{CONTROLLER_MANAGER}.pid").read_text()), signal.SIGKILL)

    def down(self, *, etcd: bool = False) -> None:
        """Kills the API server with SIGKILL until `up`, and etcd with it if asked. Not for the shared one."""
        (self.folder / ".down").write_text("etcd" if etcd else "")
        (self.folder / ".down").rename(self.folder / "down")
        self._wait_for(up=False)

    def back_up(self) -> None:
        """Keeps a copy of etcd's data. Not for the shared one."""
        self.down(etcd=True)
        shutil.copytree(self.folder / "etcd", self.folder / "etcd.backup")
        self.up()

    def restore(self) -> None:
        """Puts that copy back: all changes since then are lost, and versions count on from there."""
        self.down(etcd=True)
        shutil.rmtree(self.folder / "etcd")
        (self.folder / "etcd.backup").rename(self.folder / "etcd")
        self.up()

    def up(self) -> None:
        """Starts it again, on the same port with the same data."""
        (self.folder / "down").unlink()
        self._wait_for(up=True)

    def _wait_for(self, *, up: bool) -> None:
        deadline = time.monotonic() + START_SECONDS
        while (self.try_kubectl("get", "--raw", "/readyz").returncode == 0) != up:
            assert time.monotonic() < deadline, f"the API server did not {'start' if up else 'end'}"
            time.sleep(0.1)


@contextlib.contextmanager
def kube_api(folder: Path, controllers: str = CONTROLLERS) -> Iterator[KubeApi]:
    """The API server of a folder: started by its first user, stopped after its last one, even if that is killed.

    If its programs are not built, the test is skipped on a laptop, and fails with `CI=true`.
    """
    requires("cluster", "a Kubernetes API server")
    programs, controllers = _programs(controllers)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users:
        with (folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # waits while an unused one is being stopped
            if not (folder / "ready.json").exists():
                _start(folder, {"programs": programs, "controllers": controllers})
        server = json.loads((folder / "ready.json").read_text())["server"]
        try:
            yield KubeApi(folder, server, Path(programs), controllers)
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            _wait_ended(folder)


def _programs(controllers: str) -> tuple[str, str]:
    """The folder of the programs, and the controllers that can run."""
    found = _built(*NEEDED, *([CONTROLLER_MANAGER] if controllers else []))
    if found.returncode and controllers:
        controllers = ""
        found = _built(*NEEDED)
    if found.returncode:
        missing(found.stderr.strip())
    return found.stdout.strip(), controllers


def _built(*programs: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "hack" / "kube" / "build.py"), "--if-built", *programs]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _start(folder: Path, wanted: dict[str, str]) -> None:
    (folder / "failed").unlink(missing_ok=True)
    (folder / "wanted.json").write_text(json.dumps(wanted))
    command = [sys.executable, "-m", "support.kube.server_keeper", str(folder)]
    with (folder / "keeper.log").open("ab") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, timeout=60, check=True
        )
    deadline = time.monotonic() + 2 * START_SECONDS
    while not (folder / "ready.json").exists():
        assert not (folder / "failed").exists(), (folder / "failed").read_text()
        assert time.monotonic() < deadline, (folder / "keeper.log").read_text()[-2000:]
        time.sleep(0.05)


def _wait_ended(folder: Path) -> None:
    """Waits until it is stopped, or another process uses it."""
    deadline = time.monotonic() + _STOP_SECONDS
    with (folder / "users").open("a") as users:
        while (folder / "ready.json").exists() and time.monotonic() < deadline:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(users, fcntl.LOCK_UN)
            except BlockingIOError:
                return
            time.sleep(0.05)
