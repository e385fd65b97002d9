"""The queue port over the SQS JSON protocol, with aiohttp only, for contract tests through HTTP.

It judges what the embedded SQS server sends, so it shares nothing with `chaski_aws.sqs.queue`, which resembles it: a field
that both sides of Chaski read wrongly in the same way would pass between them. Here each field has the name that the API
reference of SQS gives it, and a request is never retried or split.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import aiohttp

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import (
    RETENTION_SECONDS,
    Failed,
    OutgoingMessage,
    QueueCounts,
    ReceivedMessage,
    Sent,
    VisibilityChange,
)


class WireQueue:
    """Implements `chaski_core.ports.Queue` for a queue behind an SQS endpoint."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, url: str) -> None:
        self._session = session
        self._endpoint = endpoint
        self._url = url

    @property
    def url(self) -> str:
        """The queue's URL at the endpoint."""
        return self._url

    @property
    def atomic_batches(self) -> bool:
        """SQS can accept one entry of a batch and fail another."""
        return False

    @property
    def retention_seconds(self) -> int:
        """As on AWS."""
        return RETENTION_SECONDS

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """SendMessageBatch."""
        entries = [
            {
                "Id": str(index),
                "MessageBody": message.body.decode(),
                "MessageGroupId": message.group_id,
                "MessageDeduplicationId": message.deduplication_id,
            }
            for index, message in enumerate(messages)
        ]
        results = _by_index(await self._call("SendMessageBatch", Entries=entries))
        return [
            result if isinstance(result, Failed) else Sent(result["MessageId"], int(result["SequenceNumber"]))
            for result in results
        ]

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[ReceivedMessage]:
        """ReceiveMessage; whole seconds, rounded up."""
        attempt = {"ReceiveRequestAttemptId": attempt_id} if attempt_id else {}
        answer = await self._call(
            "ReceiveMessage",
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=math.ceil(wait_seconds),
            VisibilityTimeout=visibility_seconds,
            MessageSystemAttributeNames=["All"],
            **attempt,
        )
        return [_received(each) for each in answer.get("Messages", [])]

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """DeleteMessageBatch."""
        entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(receipt_handles)]
        return _failures(await self._call("DeleteMessageBatch", Entries=entries))

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """ChangeMessageVisibilityBatch."""
        entries = [
            {"Id": str(index), "ReceiptHandle": change.receipt_handle, "VisibilityTimeout": change.seconds}
            for index, change in enumerate(changes)
        ]
        return _failures(await self._call("ChangeMessageVisibilityBatch", Entries=entries))

    async def counts(self) -> QueueCounts:
        """GetQueueAttributes."""
        attributes = (await self._call("GetQueueAttributes", AttributeNames=["All"]))["Attributes"]
        return QueueCounts(
            visible=int(attributes["ApproximateNumberOfMessages"]),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(attributes["ApproximateNumberOfMessagesDelayed"]),
        )

    async def _call(self, action: str, **fields: Any) -> Any:
        headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
        body = json.dumps({"QueueUrl": self._url, **fields}).encode()
        async with self._session.post(self._endpoint, data=aiohttp.BytesPayload(body), headers=headers) as response:
            text = await response.text()
            if response.status >= 500:
                raise BackendUnavailableError(text)
            answer = json.loads(text) if text else {}
            if response.status >= 400:
                raise BackendRejectedError(_code(answer["__type"]), answer["message"])
            return answer


def _code(kind: str) -> str:
    name = kind.partition("#")[2].removesuffix("Exception")
    return "MissingParameter" if name == "MissingRequiredParameter" else name


def _by_index(answer: Any) -> list[Any]:
    results = {int(each["Id"]): each for each in answer.get("Successful", [])}
    for each in answer.get("Failed", []):
        results[int(each["Id"])] = Failed(each["Code"], each["Message"], each["SenderFault"])
    return [results[index] for index in sorted(results)]


def _failures(answer: Any) -> list[Failed | None]:
    return [result if isinstance(result, Failed) else None for result in _by_index(answer)]


def _received(message: Any) -> ReceivedMessage:
    attributes = message["Attributes"]
    return ReceivedMessage(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"].encode(),
        group_id=attributes["MessageGroupId"],
        deduplication_id=attributes["MessageDeduplicationId"],
        sequence_number=int(attributes["SequenceNumber"]),
        sent_at=int(attributes["SentTimestamp"]),
        receive_count=int(attributes["ApproximateReceiveCount"]),
        first_received_at=int(attributes["ApproximateFirstReceiveTimestamp"]),
    )
