"""Stands in for the Job controller and the kubelet: runs a Job's own command line as a process, and says how it ended.

What it says of Pods and Jobs is what those say, in the fields in which they do; the Pod itself passes the API server's
admission, Pod security and ServiceAccount included.
"""

import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaski_operator.replay.job import Object
from support.kube.http import KubeHttp

BIN = Path(sys.executable).parent
END_SECONDS = 120.0
_LOG_BYTES = 2048  # of a log that becomes the message of a container that wrote none


def jobs_path(namespace: str, name: str | None = None) -> str:
    """Of Jobs, or of one."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


class JobPod:
    """One Pod of a Job: `start` it, `kill` it or `wait` for its end, then say what became of the Job."""

    def __init__(self, http: KubeHttp, job: Object, folder: Path, number: int = 0) -> None:
        self._http = http
        self._job = job
        self._folder = folder / f"{job['metadata']['name']}-{number}"
        self._folder.mkdir(parents=True)
        self.namespace = job["metadata"]["namespace"]
        self.name = f"{job['metadata']['name']}-{number}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._make()

    def _make(self) -> None:
        metadata, template = self._job["metadata"], self._job["spec"]["template"]
        (container,) = template["spec"]["containers"]
        ports = [{**port, "containerPort": self._port} for port in container["ports"]]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": metadata["name"]},
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "spec": {**template["spec"], "containers": [{**container, "ports": ports}]},
        }
        refused = self._http.refusal("POST", f"/api/v1/namespaces/{self.namespace}/pods", pod)
        assert refused is None, refused

    def start(self) -> None:
        """Runs its container."""
        (container,) = self._job["spec"]["template"]["spec"]["containers"]
        mounted = self._mount()
        words = [mounted.get(word, word) for word in (*container["command"], *container["args"])]
        words[words.index("--progress-port") + 1] = str(self._port)
        environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(self._folder), "TMPDIR": str(self._folder)}
        environment |= {each["name"]: each["value"] for each in container["env"]}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self._folder
            )
        self.say(phase="Running", podIP="127.0.0.1", containerStatuses=[self._container(running={})])

    def _mount(self) -> dict[str, str]:
        """The Pod's own files, by their path in it."""
        (volume,) = [each for each in self._job["spec"]["template"]["spec"]["volumes"] if "configMap" in each]
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{volume['configMap']['name']}"
        route = self._folder / "resolved.yaml"
        route.write_text(self._http.get(path)["data"]["resolved.yaml"])
        self._message.touch()
        return {"/etc/chaski/route/resolved.yaml": str(route), "/dev/termination-log": str(self._message)}

    @property
    def _message(self) -> Path:
        return self._folder / "termination-log"

    def kill(self) -> None:
        """SIGKILL: it ends where it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Waits for its end and says so; the exit code as a container has it."""
        assert self._process is not None
        try:
            code = self._process.wait(END_SECONDS)
        finally:
            self._process.kill()
        code = code if code >= 0 else 128 - code
        message = self._message.read_text() or (self.log[-_LOG_BYTES:] if code else "")
        reason = "Error" if code else "Completed"
        over = {"exitCode": code, "finishedAt": now(), "startedAt": now(), "reason": reason, "message": message}
        phase = "Failed" if code else "Succeeded"
        self.say(phase=phase, podIP="127.0.0.1", containerStatuses=[self._container(terminated=over)])
        return code

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self._folder / "log").read_text()

    def say(self, **status: Any) -> None:
        """Writes the Pod's status."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
        assert self._http.merge_patch(path, {"status": status}) is not None

    def waits(self, reason: str, message: str) -> None:
        """Says what keeps its container from starting."""
        self.say(phase="Pending", containerStatuses=[self._container(waiting={"reason": reason, "message": message})])

    def _container(self, **state: Any) -> dict[str, Any]:
        (container,) = self._job["spec"]["template"]["spec"]["containers"]
        return {
            "name": container["name"], "image": container["image"], "imageID": "", "ready": "running" in state,
            "restartCount": 0, "state": state,
        }  # fmt: skip

    def job_ends(self, *, well: bool, reason: str = "") -> None:
        """The Job controller's last word."""
        before, after = ("SuccessCriteriaMet", "Complete") if well else ("FailureTarget", "Failed")
        conditions = [
            {
                "type": type_, "status": "True", "reason": reason or after, "message": f"says the controller: {reason}",
                "lastTransitionTime": now(), "lastProbeTime": now(),
            }
            for type_ in (before, after)
        ]  # fmt: skip
        status = {"startTime": now(), "conditions": conditions, "uncountedTerminatedPods": {}, "terminating": 0}
        status |= {"completionTime": now(), "succeeded": 1} if well else {"failed": 1}
        path = jobs_path(self.namespace, self._job["metadata"]["name"]) + "/status"
        self._http.merge_patch(path, {"status": status})


def now() -> str:
    """As the API server writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
