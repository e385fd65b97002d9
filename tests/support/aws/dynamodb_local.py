"""DynamoDB Local, AWS's emulator, in its own process.

It follows DynamoDB's rules for items, keys, conditions, indexes and sizes; it has no tags and no point-in-time recovery,
and its indexes are updated at once, unlike DynamoDB's.
"""

import contextlib
import socket
import time

from support.aws.java_emulators import START_SECONDS, JavaProcess, jars

NAME = "dynamodb-local"


class DynamoDbLocal:
    """A running DynamoDB Local on a free port of 127.0.0.1, in memory."""

    def __init__(self) -> None:
        folder = jars(NAME)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._process = JavaProcess(
            [
                f"-Djava.library.path={folder}",
                "-cp",
                f"{folder}/*",
                "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
                *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)),
            ],
            started=r"^Port:\s+(\d+)",
        )
        self.url = f"http://127.0.0.1:{port}"
        self._wait_until_listening(port)

    def stop(self) -> None:
        """Stops the process."""
        self._process.stop()

    def _wait_until_listening(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"DynamoDB Local did not listen within {START_SECONDS} s")
