"""ElasticMQ, another SQS emulator, in its own process.

Where it differs from AWS (read in its sources at f86bb05 and seen here with 1.6.12), it is excluded from the test.
"""

from support.aws.java_emulators import JavaProcess, jars

NAME = "elasticmq"


class ElasticMq:
    """A running ElasticMQ on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        settings = {
            "rest-sqs.bind-hostname": "127.0.0.1",
            "rest-sqs.bind-port": "0",
            "generate-node-address": "true",
            "rest-stats.enabled": "false",
        }
        options = [f"-D{name}={value}" for name, value in settings.items()]
        self._process = JavaProcess(
            [*options, "-cp", f"{jars(NAME)}/*", "org.elasticmq.server.Main"],
            started=r"Started SQS rest server, bind address 127\.0\.0\.1:(\d+)",
        )
        self.url = f"http://127.0.0.1:{self._process.welcome[1]}"

    def stop(self) -> None:
        """Stops the process."""
        self._process.stop()
