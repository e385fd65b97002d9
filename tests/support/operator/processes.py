"""The operator as a process, between gates to a real API server and to moto; and what stands in for a kubelet."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chaski_aws.provision.clients import BotoAws
from chaski_runtime.kube.config import kube_access
from support.faults.gate import Gate, gate
from support.kube.api_server import KubeApi
from support.kube.http import DEPLOYMENTS, KubeHttp
from support.operator.provisioning import boto

BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 120.0
USER = "chaski-operator"
# As quick as moto and a loaded machine bear; the defaults are minutes.
QUICK = ("--resync-seconds", "1", "--busy-seconds", "0.3", "--drained-seconds", "0.6", "--fence-seconds", "0")


@dataclass
class Operator:
    """One operator for some namespaces; it may be killed and started again, with the same identity."""

    kube: KubeApi
    folder: Path
    api: Gate
    aws: Gate
    namespaces: tuple[str, ...]
    flags: tuple[str, ...] = QUICK
    identity: str = "test"
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What it wrote, all processes together."""
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
        served = [part for each in self.namespaces for part in ("--namespace", each)]
        command = [
            str(BIN / "chaski-operator"), "--worker-image", "registry.example/worker:1", "--host", "127.0.0.1",
            "--metrics-port", "0", "--identity", self.identity, *served, *self.flags,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)

    def metrics_url(self) -> str:
        """Of the last process that was started."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if '"ready"' in line]
        return str(entries[-1]["chaski.metrics.url"])

    def boto(self) -> BotoAws:
        """Calls past the gate, so that they are not counted."""
        return boto(self.aws.upstream, self.aws.upstream)

    def asked(self, namespace: str, *told: str) -> int:
        """How often AWS was asked these things for the routes of a namespace."""
        return sum(each.told in told and namespace.encode() in each.body for each in list(self.aws.asked))

    def writes(self, namespace: str) -> list[str]:
        """What was written for a namespace, on both sides."""
        aws = [each.told for each in self.aws.writes() if namespace.encode() in each.body]
        return aws + [each.told for each in self.api.writes() if f"/{namespace}/" in each.path]

    def quiet(self, namespace: str, seconds: float) -> None:
        """Waits until nothing was written for a namespace for so long."""
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
    kube: KubeApi, folder: Path, moto: str, *namespaces: str, flags: tuple[str, ...] = QUICK
) -> Iterator[Operator]:
    """An operator that was not started yet; ended at the end, its log shown where the test fails."""
    config = kube.user_kubeconfig(f"{USER}-{namespaces[0]}", ["system:masters"])
    access = kube_access({"KUBECONFIG": str(config)})
    with gate(kube.server, access) as api, gate(moto) as aws:
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
def kubelets(kube: KubeApi, *namespaces: str) -> Iterator[None]:
    """Stands in for the Deployment controller and the kubelets: says of every Deployment that it does as it was told.

    Nothing else writes a Deployment's status where no controller runs.
    """
    stop, http = threading.Event(), KubeHttp(kube)
    path = f"{DEPLOYMENTS}/deployments?labelSelector=app.kubernetes.io/managed-by=chaski-operator"

    def work() -> None:
        taken = 0.0
        while not stop.wait(max(0.1, 5 * taken)):  # many Deployments take long to list, and others need the machine too
            begun = time.monotonic()
            try:
                listed = http.items(path)
            except OSError:  # the API server is down, as a test wanted
                continue
            taken = time.monotonic() - begun
            for each in listed:
                if each["metadata"]["namespace"] in namespaces:
                    _as_told(http, each)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def _as_told(http: KubeHttp, deployment: Mapping[str, Any]) -> None:
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


def until(condition: Callable[[], Any], told: str, seconds: float = DEADLINE_SECONDS, every: float = 0.1) -> Any:
    """Waits for something that is true, looking every so many seconds; gives it back."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, told
        time.sleep(every)
