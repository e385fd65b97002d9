"""The operator as a process, behind gates to a real API server and to moto, and a fake Deployment controller."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chaski_aws.names import namespace_prefix
from chaski_aws.provision.clients import BotoAws
from chaski_runtime.kube.config import kube_access
from support.faults.recording_proxy import RecordingProxy, recording_proxy
from support.kube.api_server import KubeApi
from support.kube.http import DEPLOYMENTS, KubeHttp
from support.metric_pages import value
from support.operator.provisioning import boto

BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 120.0
USER = "chaski-operator"
# As short as moto and a loaded machine tolerate; the defaults are minutes.
QUICK = ("--resync-seconds", "1", "--busy-seconds", "0.3", "--drained-seconds", "0.6", "--fence-seconds", "0")


@dataclass
class Operator:
    """One operator for some namespaces; it can be killed and started again, with the same identity."""

    kube: KubeApi
    folder: Path
    api: RecordingProxy
    aws: RecordingProxy
    namespaces: tuple[str, ...]
    flags: tuple[str, ...] = QUICK
    identity: str = "test"
    clusterwide: bool = False  # serves all namespaces
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    _log_start: int = 0  # where the lines of the last process begin

    @property
    def log(self) -> Path:
        """The log of all its processes."""
        return self.folder / "operator.log"

    def start(self) -> None:
        """Starts a process."""
        config = {
            "clusters": [{"name": "c", "cluster": {"server": self.api.url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": self.namespaces[0]}}],
            "current-context": "x",
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CHASKI_"))}
        environment |= {
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "AWS_ENDPOINT_URL_SQS": self.aws.url,
            "AWS_ENDPOINT_URL_DYNAMODB": self.aws.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        } | self.environment  # fmt: skip
        served = [] if self.clusterwide else [part for each in self.namespaces for part in ("--namespace", each)]
        command = [
            str(BIN / "chaski-operator"), "--worker-image", "registry.example/worker:1", "--host", "127.0.0.1",
            "--metrics-port", "0", "--identity", self.identity, *served, *self.flags,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        """Sends SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)

    def metrics_url(self) -> str:
        """The metrics URL of the process that was started last; waits until it listens."""
        ready = until(lambda: self._lines_since_start('"ready"'), "the operator is not ready")
        return str(json.loads(ready[-1])["chaski.metrics.url"])

    def _lines_since_start(self, word: str) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return [line for line in log.read().decode().splitlines() if word in line and line.endswith("}")]

    def probe(self, name: str) -> int:
        """The status of `healthz` or `readyz`."""
        try:
            with urllib.request.urlopen(self.metrics_url().replace("metrics", name), timeout=10) as response:  # noqa: S310 - of the process that the test runs
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        with urllib.request.urlopen(self.metrics_url(), timeout=10) as page:  # noqa: S310 - as above
            return value(page.read().decode(), name)

    def boto(self) -> BotoAws:
        """A client that bypasses the gate, so that its calls are not counted."""
        return boto(self.aws.upstream, self.aws.upstream)

    def installation(self) -> str:
        """The name of its installation."""
        if "--installation" in self.flags:
            return self.flags[self.flags.index("--installation") + 1]
        return str(KubeHttp(self.kube).get("/api/v1/namespaces/kube-system")["metadata"]["uid"])

    def calls(self, namespace: str, *operations: str) -> int:
        """The number of these calls to AWS for the routes of a namespace; of the ListQueues of a reconciliation, one."""
        plain = namespace.encode()
        prefix = namespace_prefix(self.installation(), namespace).encode()
        return sum(
            each.summary in operations
            and (plain in each.body or (prefix in each.body and each.summary != "ListQueues"))
            for each in list(self.aws.asked)
        )

    def writes(self, namespace: str) -> list[str]:
        """All writes for a namespace, to AWS and to the API server."""
        prefix = namespace_prefix(self.installation(), namespace)
        marks = (namespace.encode(), prefix.encode())
        aws = [each.summary for each in self.aws.writes() if any(mark in each.body for mark in marks)]
        return aws + [each.summary for each in self.api.writes() if f"/{namespace}/" in each.path]

    def quiet(self, namespace: str, seconds: float) -> None:
        """Waits until nothing was written for a namespace for `seconds`."""
        seen, since = -1, time.monotonic()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() - since < seconds:
            now = len(self.writes(namespace))
            if now != seen:
                seen, since = now, time.monotonic()
            assert time.monotonic() < deadline, self.writes(namespace)[-10:]
            time.sleep(0.05)


@contextlib.contextmanager
def operator(
    kube: KubeApi, folder: Path, moto: str, *namespaces: str, flags: tuple[str, ...] = QUICK, user: str = ""
) -> Iterator[Operator]:
    """An operator, not started yet; killed at the end, its log printed if the test fails.

    Args:
        kube: the API server.
        folder: for its log.
        moto: AWS.
        namespaces: which it serves.
        flags: its further flags.
        user: its name, with the permissions that this one has been given; empty: a name of its own, with all permissions.
    """
    config = kube.user_kubeconfig(user or f"{USER}-{namespaces[0]}", [] if user else ["system:masters"])
    access = kube_access({"KUBECONFIG": str(config)})
    with recording_proxy(kube.server, access) as api, recording_proxy(moto) as aws:
        made = Operator(kube, folder, api, aws, namespaces, flags)
        try:
            yield made
        except BaseException:
            print(made.log.read_text()[-6000:] if made.log.exists() else "no log")  # noqa: T201 - pytest shows it with the failure
            raise
        finally:
            if made.process is not None:
                made.kill()


@contextlib.contextmanager
def two_operators(
    kube: KubeApi, folder: Path, moto: str, namespace: str, flags: Callable[[str], tuple[str, ...]]
) -> Iterator[tuple[Operator, Operator]]:
    """Two operators of one namespace, not started yet, and its kubelets.

    Args:
        kube: the API server.
        folder: for their logs.
        moto: AWS.
        namespace: which both serve.
        flags: the further flags of `first` and of `second`.
    """
    names = ("first", "second")
    for name in names:
        (folder / name).mkdir()
    with (
        operator(kube, folder / "first", moto, namespace, flags=flags("first")) as first,
        operator(kube, folder / "second", moto, namespace, flags=flags("second")) as second,
        kubelets(kube, namespace),
    ):
        first.identity, second.identity = names
        yield first, second


@contextlib.contextmanager
def kubelets(kube: KubeApi, *namespaces: str) -> Iterator[None]:
    """Replaces the Deployment controller and the kubelets: writes the status of a completed rollout of every Deployment."""
    stop, http = threading.Event(), KubeHttp(kube)
    path = f"{DEPLOYMENTS}/deployments?labelSelector=app.kubernetes.io/managed-by=chaski-operator"

    def work() -> None:
        taken = 0.0
        while not stop.wait(max(0.1, 5 * taken)):  # a list of many Deployments takes long, and the machine is shared
            started = time.monotonic()
            with contextlib.suppress(OSError):  # a test has stopped the API server
                listed = http.items(path)
                taken = time.monotonic() - started
                for each in listed:
                    if each["metadata"]["namespace"] in namespaces:
                        _complete_rollout(http, each)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def _complete_rollout(http: KubeHttp, deployment: Mapping[str, Any]) -> None:
    metadata, replicas = deployment["metadata"], deployment["spec"]["replicas"]
    if deployment.get("status", {}).get("observedGeneration") == metadata["generation"]:
        return
    status = {
        "observedGeneration": metadata["generation"], "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": ""}],
    }  # fmt: skip
    path = f"{DEPLOYMENTS}/namespaces/{metadata['namespace']}/deployments/{metadata['name']}/status"
    http.merge_patch(path, {"status": status})


def until(condition: Callable[[], Any], failure: str, seconds: float = DEADLINE_SECONDS, every: float = 0.1) -> Any:
    """Polls until a condition is true, and returns its value; fails with a message after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, failure
        time.sleep(every)
