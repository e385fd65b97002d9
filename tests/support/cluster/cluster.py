"""The real one-node cluster of `hack/cluster/up`, and helpers for tests."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import boto3
import yaml
from botocore.config import Config

from support.tools import missing

ROOT = Path(__file__).resolve().parents[3]
STATE = Path(
    os.environ.get("CHASKI_CLUSTER")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chaski" / "cluster"
)
SYSTEM = "chaski-system"
_SECONDS = 120
_CANNOT = 3  # exit status of hack/cluster/up if this machine can't run a cluster
T = TypeVar("T")


class Cluster:
    """The running cluster."""

    def __init__(self) -> None:
        lines = (STATE / "info").read_text().splitlines()
        self.info = dict(line.split("=", 1) for line in lines)
        self._environment = os.environ | {"KUBECONFIG": self.info["KUBECONFIG"]}
        self._helm = self.info["HELM"]
        #: Files of values for the chart; later ones take precedence.
        self.values: Sequence[Path] = (STATE / "values.yaml",)

    def kubectl(self, *arguments: str, document: Any = None, seconds: float = _SECONDS) -> str:
        """Runs kubectl; returns its output. `document` (one, a list, or a text) is its stdin."""
        ran = self.try_kubectl(*arguments, document=document, seconds=seconds)
        assert ran.returncode == 0, f"kubectl {' '.join(arguments)}: {ran.stderr[-2000:]}"
        return ran.stdout

    def try_kubectl(
        self, *arguments: str, document: Any = None, seconds: float = _SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl, which may fail."""
        if document is None or isinstance(document, str):
            text = document or ""
        else:
            text = yaml.safe_dump_all(document if isinstance(document, list) else [document])
        return self._run([self.info["KUBECTL"], *arguments], text, seconds)

    def apply(self, *documents: Mapping[str, Any]) -> None:
        """Runs `kubectl apply`."""
        self.kubectl("apply", "-f", "-", document=list(documents))

    def get(self, *arguments: str) -> Any:
        """Runs `kubectl get -o json`; returns the document."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def helm(self, *arguments: str, seconds: float = 400) -> str:
        """Runs helm; returns its output."""
        ran = self._run([self._helm, *arguments], "", seconds)
        assert ran.returncode == 0, (
            f"helm {' '.join(arguments)}: {ran.stdout[-1000:]}{ran.stderr[-2000:]}\n{self.state()}"
        )
        return ran.stdout

    def install(self, *more: str) -> None:
        """Installs or upgrades the release `chaski` from this checkout; `more` are further arguments for helm."""
        values = [f"--values={file}" for file in self.values]
        arguments = ("upgrade", "--install", "chaski", str(ROOT / "charts" / "chaski"), "-n", SYSTEM, *values)
        self.helm(*arguments, *more, "--wait", "--timeout", "5m")

    def namespace(self, name: str, more_labels: Mapping[str, str] | None = None) -> None:
        """Creates a namespace that enforces the Pod security standard `restricted`."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted", **(more_labels or {})}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def state(self) -> str:
        """Pods, routes, events and logs, for the message of a failure."""
        pods = self.try_kubectl("get", "pods", "--all-namespaces", "-o", "wide").stdout
        routes = self.try_kubectl("get", "chaskiroutes", "--all-namespaces").stdout
        events = self.try_kubectl("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp").stdout
        logs = self.try_kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/part-of=chaski", "--tail=15").stdout
        return "\n".join((pods, routes, *events.splitlines()[-25:], logs))

    def until(self, what: str, check: Callable[[], T | None], seconds: float = 180) -> T:
        """Polls until the check returns a true value; returns it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := check():
                return found
            time.sleep(1)
        raise AssertionError(f"not within {seconds:g} s: {what}\n{self.state()}")

    def ready(self, namespace: str, route: str, seconds: float = 180) -> None:
        """Waits until a route is Ready, with `kubectl wait`."""
        arguments = (
            "wait",
            "-n",
            namespace,
            "--for=condition=Ready",
            f"chaskiroute/{route}",
            f"--timeout={seconds:g}s",
        )
        waited = self.try_kubectl(*arguments, seconds=seconds + 30)
        described = self.try_kubectl("describe", "chaskiroute", "-n", namespace, route).stdout
        assert waited.returncode == 0, f"{waited.stderr}\n{described}\n{self.state()}"

    def aws(self, service: str) -> Any:
        """A boto3 client for the emulator of `sqs` or `dynamodb`."""
        port = self.info["SQS_PORT" if service == "sqs" else "DYNAMODB_PORT"]
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"mode": "standard"}),
        )

    @contextlib.contextmanager
    def forwarded(self, service: str, port: str) -> Iterator[str]:
        """Forwards a free local port to a Service of the installation, as `kubectl port-forward` does; yields `127.0.0.1:PORT`."""
        command = [self.info["KUBECTL"], "port-forward", "-n", SYSTEM, f"service/{service}", f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # ends with the process
            found = re.match(r"Forwarding from (127\.0\.0\.1:\d+) -> ", line)
            assert found is not None, f"{line!r}\n{self.state()}"
            yield found[1]
        finally:
            process.terminate()
            process.wait(_SECONDS)
            assert process.stdout is not None
            process.stdout.close()

    def _run(self, command: Sequence[str], text: str, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds, check=False, env=self._environment
        )


def bring_up() -> bool:
    """Starts the cluster unless it is running; reports progress on stderr.

    If this machine can't run one, the test is skipped, or fails in CI, with the reason.

    Returns:
        Whether it was started: then the caller stops it.
    """
    output: list[str] = []
    with subprocess.Popen([str(ROOT / "hack" / "cluster" / "up")], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            output.append(line)
            sys.stderr.write(line)
            sys.stderr.flush()
    if process.returncode == _CANNOT:
        missing("".join(output))
    assert process.returncode == 0, "".join(output[-60:])
    return "it is up already" not in "".join(output)


def take_down() -> None:
    """Stops the cluster and removes its state."""
    subprocess.run([str(ROOT / "hack" / "cluster" / "down")], check=True, timeout=600)


def load_images() -> None:
    """Builds the images of this checkout and imports them into the cluster; writes the chart's values."""
    subprocess.run([str(ROOT / "hack" / "cluster" / "load")], check=True, timeout=1200)
