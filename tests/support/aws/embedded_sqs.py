"""A process that serves a data folder as SQS, and boto3 clients of it."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

START_SECONDS = 90
STOP_SECONDS = 15


class ServerProcess:
    """`python -m chaski_embedded` on a data folder."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "chaski_embedded", "--data", str(folder), "--port", str(port)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        killer = threading.Timer(START_SECONDS, self._process.kill)  # readline has no timeout
        killer.start()
        assert self._process.stdout is not None
        self.welcome = self._process.stdout.readline() + self._process.stdout.readline()
        killer.cancel()
        assert self.welcome.startswith("SQS endpoint: "), f"said {self.welcome!r}, exit {self._process.poll()}"
        self.url = self.welcome.split()[2]

    def terminate(self) -> int:
        """Stops the process with SIGTERM; its exit status."""
        self._process.terminate()
        return self._wait()

    def stop(self) -> None:
        """Stops the process and expects exit status 0."""
        assert self.terminate() == 0

    def kill(self) -> None:
        """Kills the process with SIGKILL."""
        self._process.kill()
        self._wait()

    def _wait(self) -> int:
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            if self._process.stdout is not None:
                self._process.stdout.close()


def connect(url: str, read_timeout: float = 30) -> "SQSClient":
    """A boto3 client without retries."""
    return boto3.client(
        "sqs",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=read_timeout),
    )
