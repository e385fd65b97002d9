"""The server as a process: disconnects, restarts, SIGTERM, and the aws command."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from support.aws.embedded_sqs import ServerProcess, connect

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MESSAGE: Any = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}


def _exported(server: ServerProcess) -> dict[str, str]:
    return dict(word.split("=", 1) for word in server.welcome.split() if word.startswith("AWS_"))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that the test may stop."""
    process = ServerProcess(tmp_path)
    yield process
    process.kill()


def test_a_disconnected_client_receives_nothing(server: ServerProcess, sqs: "SQSClient", queue: str) -> None:
    """Its long poll does not receive a message sent after the disconnect."""
    impatient = connect(server.url, read_timeout=1)
    try:
        with pytest.raises(ReadTimeoutError):
            impatient.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
    finally:
        impatient.close()
    sqs.send_message(QueueUrl=queue, **MESSAGE)
    (got,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5, AttributeNames=["ApproximateReceiveCount"])[
        "Messages"
    ]
    assert got["Attributes"] == {"ApproximateReceiveCount": "1"}


def test_a_long_poll_is_woken_by_a_send(sqs: "SQSClient", queue: str) -> None:
    """The message is received long before the wait is over."""
    sender = threading.Timer(0.5, lambda: sqs.send_message(QueueUrl=queue, **MESSAGE))
    sender.start()
    try:
        assert sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"][0]["Body"] == "x"
    finally:
        sender.join()


def test_sigterm_ends_long_polls_and_the_process(own_server: ServerProcess) -> None:
    """The waiting client gets an empty response at once, the process exits with 0."""
    client = connect(own_server.url)
    url = client.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(client.receive_message(QueueUrl=url, WaitTimeSeconds=20)))
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    assert own_server.terminate() == 0
    waiting.join(5)
    client.close()
    assert [answer.get("Messages") for answer in answers] == [None]


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_acknowledged_state_survives_a_restart(own_server: ServerProcess, tmp_path: Path, end: str) -> None:
    """Messages, attributes, settings and tags, and locks of messages in flight, also after SIGKILL; the port may differ."""
    before = connect(own_server.url)
    attributes: Any = {"FifoQueue": "true", "VisibilityTimeout": "900"}
    url = before.create_queue(QueueName="q.fifo", Attributes=attributes, tags={"a": "1"})["QueueUrl"]
    note: Any = {"n": {"DataType": "Number", "StringValue": "7"}}
    for name in ("a1", "a2", "b1"):
        before.send_message(
            QueueUrl=url,
            MessageBody=name,
            MessageGroupId=name[0],
            MessageDeduplicationId=name,
            MessageAttributes=note,
        )
    held = before.receive_message(QueueUrl=url)["Messages"][0]
    before.close()
    getattr(own_server, end)()
    again = ServerProcess(tmp_path)
    after = connect(again.url)
    try:
        (got,) = after.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])["Messages"]
        assert (held["Body"], got["Body"], got["MessageAttributes"]) == ("a1", "b1", note)
        after.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
        assert after.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "a2"
        assert after.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"] == {
            "VisibilityTimeout": "900"
        }
        assert after.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1"}
    finally:
        after.close()
        again.kill()


def test_a_folder_has_one_owner(own_server: ServerProcess, tmp_path: Path) -> None:
    """A second server on the same folder reports it and exits with 1; the first continues."""
    command = [sys.executable, "-m", "chaski_embedded", "--data", str(tmp_path), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("chaski_embedded: ")
    assert "Traceback" not in second.stderr
    client = connect(own_server.url)
    assert client.list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200
    client.close()


def test_the_printed_environment_is_enough_for_an_sdk(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 without an argument finds endpoint, region and credentials."""
    for name, value in _exported(server).items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("sqs")
    assert client.meta.endpoint_url == server.url
    assert client.list_queues(MaxResults=1)["ResponseMetadata"]["HTTPStatusCode"] == 200
    client.close()


@pytest.mark.skipif(shutil.which("aws") is None, reason="the aws command is not installed")
def test_the_aws_command_works(server: ServerProcess, tmp_path: Path) -> None:
    """Queue, send, receive and delete; version 1 of the command needs the endpoint as an argument."""
    environment = {**os.environ, **_exported(server), "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_PAGER": ""}

    def aws(*arguments: str) -> Any:
        done = subprocess.run(
            ["aws", "--endpoint-url", server.url, "sqs", *arguments, "--output", "json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    url = aws("create-queue", "--queue-name", "cli.fifo", "--attributes", "FifoQueue=true")["QueueUrl"]
    keys = ["--message-group-id", "g", "--message-deduplication-id", "d"]
    aws("send-message", "--queue-url", url, "--message-body", "from the command line", *keys)
    got = aws("receive-message", "--queue-url", url, "--attribute-names", "All")["Messages"][0]
    assert got["Body"] == "from the command line"
    assert aws("delete-message", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"]) is None
