"""moto's server in its own process: SQS and DynamoDB for admin calls, with tags, policies and backups."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 15


class MotoServer:
    """A running moto on a free port of 127.0.0.1: an empty account."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("serial_moto.py")), "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.url = f"http://127.0.0.1:{port}"
        self._wait_until_listening(port)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for a client process."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }

    def stop(self) -> None:
        """Stops the process."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()

    def _wait_until_listening(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"moto ended with {self._process.returncode}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"moto did not listen within {START_SECONDS} s")
