"""Supervises a Kubernetes API server for tests: `python -m support.kube.server_keeper FOLDER`, configured by `wanted.json`.

It runs in a session of its own, and ends its processes as soon as no process holds a lock on `users`, so a killed test
run leaves nothing behind. While a file `down` exists, the API server is kept down, and etcd too if it contains `etcd`.
"""

import fcntl
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from support.kube import certificates

START_SECONDS = 90.0
_TRIES = 3  # a free port may be taken before it is used
_EVERY_SECONDS = 0.1
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass
class Keeper:
    """The processes of one API server, and the folder of their state."""

    folder: Path
    programs: Path
    controllers: str  # a list as kube-controller-manager takes it; "" starts none
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    api_port: int = 0
    etcd_port: int = 0

    def start(self) -> None:
        """Starts all processes, then writes `ready.json`."""
        for left in range(_TRIES, 0, -1):
            self.end()
            self.api_port, self.etcd_port = free_port(), free_port()
            certificates.make_all(self.folder, self.server)
            (self.folder / "audit.yaml").write_text(json.dumps(_AUDIT))
            self._run("etcd", *self._etcd())
            self._run("kube-apiserver", *self._apiserver())
            if self._wait_ready(last=left == 1):
                break
        if self.controllers:
            self._run("kube-controller-manager", *self._controller_manager())
        partial = self.folder / ".ready.json"
        partial.write_text(json.dumps({"server": self.server}))
        partial.rename(self.folder / "ready.json")

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://127.0.0.1:{self.api_port}"

    def keep(self, users: IO[str]) -> None:
        """Keeps all processes up, or the API server down on request, until no process uses it."""
        programs = {"etcd": self._etcd, "kube-apiserver": self._apiserver}
        if self.controllers:
            programs["kube-controller-manager"] = self._controller_manager
        while not _is_unused(users):
            down = self._down()
            for name, arguments in programs.items():
                process = self.processes[name]
                if name in down and process.poll() is None:
                    process.kill()
                    process.wait()
                elif name not in down and process.poll() is not None:
                    self._run(name, *arguments())
            time.sleep(_EVERY_SECONDS)

    def _down(self) -> tuple[str, ...]:
        try:
            text = (self.folder / "down").read_text()
        except FileNotFoundError:
            return ()
        return ("etcd", "kube-apiserver") if text == "etcd" else ("kube-apiserver",)

    def end(self) -> None:
        """Kills all processes and deletes their state."""
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()
        self.processes.clear()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)
        (self.folder / "ready.json").unlink(missing_ok=True)

    def _run(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [str(self.programs / name), *arguments]
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        (self.folder / f"{name}.pid").write_text(str(self.processes[name].pid))

    def _etcd(self) -> list[str]:
        url = f"http://127.0.0.1:{self.etcd_port}"
        urls = [f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
        return ["--data-dir=etcd", *urls, "--listen-peer-urls=http://127.0.0.1:0", "--unsafe-no-fsync"]

    def _apiserver(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.api_port}",
            "--tls-cert-file=apiserver.crt",
            "--tls-private-key-file=apiserver.key",
            "--client-ca-file=ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.pub",
            "--service-account-signing-key-file=sa.key",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--profiling=false",
            "--audit-policy-file=audit.yaml",
            "--audit-log-path=audit.log",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            "--kubeconfig=admin.kubeconfig",
            "--leader-elect=false",
            "--secure-port=0",
            "--service-account-private-key-file=sa.key",
            "--root-ca-file=ca.crt",
            f"--controllers={self.controllers}",
            "--vmodule=controllermanager=1",  # logs each controller that starts
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]

    def _wait_ready(self, *, last: bool) -> bool:
        deadline = time.monotonic() + START_SECONDS
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        while time.monotonic() < deadline:
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended and not last:
                return False
            if ended:
                log = (self.folder / f"{ended[0]}.log").read_text(errors="replace")
                raise RuntimeError(f"{ended[0]} ended: {log[-2000:]}")
            try:
                with urllib.request.urlopen(f"{self.server}/readyz", context=context, timeout=5):  # noqa: S310 - our own server
                    return True
            except OSError:
                time.sleep(_EVERY_SECONDS)
        raise RuntimeError(f"the API server was not ready within {START_SECONDS:.0f} s; logs are in {self.folder}")


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_unused(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    """Runs in the background, in a session of its own."""
    if os.fork():
        os._exit(0)
    os.setsid()
    folder = Path(sys.argv[1])
    wanted: dict[str, Any] = json.loads((folder / "wanted.json").read_text())
    keeper = Keeper(folder, Path(wanted["programs"]), wanted["controllers"])
    with (folder / "users").open("a") as users:
        try:
            keeper.start()
            keeper.keep(users)
        except BaseException as error:
            (folder / "failed").write_text(str(error))
            raise
        finally:
            keeper.end()


if __name__ == "__main__":
    main()
