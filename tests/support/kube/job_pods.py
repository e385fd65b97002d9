"""Replaces the Job controller and the kubelet: runs a Job's command line as a process, and writes how it ended.

It writes the same status fields of Pods and Jobs as those do; the Pod passes the API server's admission, including Pod
security and ServiceAccount.
"""

import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaski_operator.manifests.kinds import Object
from support.kube.expansion import environment_of, expand
from support.kube.http import KubeHttp

BIN = Path(sys.executable).parent
END_SECONDS = 120.0
_LOG_BYTES = 2048  # of the log, if a container wrote no termination message


def jobs_path(namespace: str, name: str | None = None) -> str:
    """The API path of a namespace's Jobs, or of one."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


class JobPod:
    """One Pod of a Job: `start` it, `kill` it or `wait` for its end, then `job_ends`."""

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
        self._create()

    def _create(self) -> None:
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
        refusal = self._http.refusal("POST", f"/api/v1/namespaces/{self.namespace}/pods", pod)
        assert refusal is None, refusal

    def start(self) -> None:
        """Runs its container."""
        (container,) = self._job["spec"]["template"]["spec"]["containers"]
        mounted = self._mount()
        environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(self._folder), "TMPDIR": str(self._folder)}
        environment = environment_of(container["env"], environment)
        command = [expand(word, environment) for word in (*container["command"], *container["args"])]
        command = [mounted.get(word, word) for word in command]
        command[command.index("--progress-port") + 1] = str(self._port)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self._folder
            )
        self.write_status(phase="Running", podIP="127.0.0.1", containerStatuses=[self._container(running={})])

    def _mount(self) -> dict[str, str]:
        """The Pod's files, by their path in it."""
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
        """Sends SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Waits for its end and writes the status; returns the exit code as a container has it."""
        assert self._process is not None
        try:
            code = self._process.wait(END_SECONDS)
        finally:
            self._process.kill()
        code = code if code >= 0 else 128 - code
        message = self._message.read_text() or (self.log[-_LOG_BYTES:] if code else "")
        reason = "Error" if code else "Completed"
        terminated = {"exitCode": code, "finishedAt": now(), "startedAt": now(), "reason": reason, "message": message}
        phase = "Failed" if code else "Succeeded"
        self.write_status(phase=phase, podIP="127.0.0.1", containerStatuses=[self._container(terminated=terminated)])
        return code

    @property
    def log(self) -> str:
        """The container's log."""
        return (self._folder / "log").read_text()

    def write_status(self, **status: Any) -> None:
        """Writes the Pod's status."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
        assert self._http.merge_patch(path, {"status": status}) is not None

    def write_waiting(self, reason: str, message: str) -> None:
        """Writes the reason why its container does not start."""
        self.write_status(
            phase="Pending", containerStatuses=[self._container(waiting={"reason": reason, "message": message})]
        )

    def _container(self, **state: Any) -> dict[str, Any]:
        (container,) = self._job["spec"]["template"]["spec"]["containers"]
        return {
            "name": container["name"], "image": container["image"], "imageID": "", "ready": "running" in state,
            "restartCount": 0, "state": state,
        }  # fmt: skip

    def finish_job(self, *, succeeded: bool, reason: str = "") -> None:
        """Writes the final status of the Job."""
        before, after = ("SuccessCriteriaMet", "Complete") if succeeded else ("FailureTarget", "Failed")
        conditions = [
            {
                "type": type_, "status": "True", "reason": reason or after, "message": f"of the controller: {reason}",
                "lastTransitionTime": now(), "lastProbeTime": now(),
            }
            for type_ in (before, after)
        ]  # fmt: skip
        status = {"startTime": now(), "conditions": conditions, "uncountedTerminatedPods": {}, "terminating": 0}
        status |= {"completionTime": now(), "succeeded": 1} if succeeded else {"failed": 1}
        path = jobs_path(self.namespace, self._job["metadata"]["name"]) + "/status"
        self._http.merge_patch(path, {"status": status})


def now() -> str:
    """The current time in the API server's format."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
