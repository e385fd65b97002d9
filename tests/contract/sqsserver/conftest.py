"""One SQS server and one boto3 client for all tests of this folder."""

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from support.aws.embedded_sqs import ServerProcess, connect

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of this folder, each with its own queues."""
    process = ServerProcess(tmp_path_factory.mktemp("sqs"))
    yield process
    process.kill()


@pytest.fixture(scope="session")
def sqs(server: ServerProcess) -> Iterator["SQSClient"]:
    """A client of the server."""
    client = connect(server.url)
    yield client
    client.close()


@pytest.fixture
def new_queue(sqs: "SQSClient") -> Callable[..., str]:
    """Creates queues with unique names."""

    def make(**attributes: Any) -> str:
        name = f"test-{uuid.uuid4().hex}.fifo"
        every: Any = {"FifoQueue": "true"} | attributes
        return sqs.create_queue(QueueName=name, Attributes=every)["QueueUrl"]

    return make


@pytest.fixture
def queue(new_queue: Callable[..., str]) -> str:
    """A queue with the default attributes."""
    return new_queue()
