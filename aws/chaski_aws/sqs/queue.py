"""The queue port on SQS FIFO.

API: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
"""

import asyncio
import math
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from chaski_aws.http.transport import AwsTransport, CallLimits
from chaski_aws.sqs import batches
from chaski_aws.sqs.orphaned_receives import OrphanedReceives
from chaski_core.errors import BackendError, BackendRejectedError, BackendUnavailableError
from chaski_core.ports import (
    MAX_BATCH_ENTRIES,
    MAX_QUEUED_BYTES,
    RETENTION_SECONDS,
    Failed,
    OutgoingMessage,
    QueueCounts,
    ReceivedMessage,
    Sent,
    VisibilityChange,
)

MAX_WAIT_SECONDS = 20  # API_ReceiveMessage, WaitTimeSeconds
_LONGEST_ESCAPE = 6  # one byte can be encoded as \u0000
_MAX_RECEIVED_BYTES = MAX_BATCH_ENTRIES * (MAX_QUEUED_BYTES + 8192) * _LONGEST_ESCAPE
RESPONSE_SECONDS = 10.0  # timeout of one try of a call; a long poll adds its wait
_SYSTEM_ATTRIBUTES = (
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SentTimestamp",
    "SequenceNumber",
)
_COUNTS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


def counts_of(attributes: Mapping[str, str]) -> QueueCounts:
    """The counts among a queue's attributes. Raises ValueError if one is missing: unknown is not zero."""
    try:
        return QueueCounts(**{name: int(attributes[attribute]) for name, attribute in _COUNTS.items()})
    except KeyError as error:
        raise ValueError(f"the response lacks {error}") from error


class SqsQueue:
    """Implements `chaski_core.ports.Queue` for one queue URL. One object per process and URL."""

    def __init__(self, transport: AwsTransport, url: str, response_seconds: float = RESPONSE_SECONDS) -> None:
        self._transport = transport
        self._url = url
        self._response_seconds = response_seconds
        self._limits = CallLimits(response_seconds)
        self._orphans = OrphanedReceives(self._release)

    @property
    def url(self) -> str:
        return self._url

    @property
    def atomic_batches(self) -> bool:
        """False: SQS can accept one entry of a batch and fail another."""
        return False

    @property
    def retention_seconds(self) -> int:
        """The retention that a route's queues are created with: SQS's maximum."""
        return RETENTION_SECONDS

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """SendMessageBatch; several calls where the bodies are larger than 1 MiB in total.

        A group of which one call failed a message is left out of the later calls.
        """
        results: list[Sent | Failed] = []
        for run in batches.split_by_size(messages):
            results += await self._send_run(run, messages, results)
        return results

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[ReceivedMessage]:
        """ReceiveMessage; the wait in whole seconds, rounded up, at most 20. An empty attempt id means a new one."""
        if attempt_id:
            await self._orphans.hand_over(attempt_id)
        else:
            attempt_id = uuid.uuid4().hex
        wait = min(math.ceil(wait_seconds), MAX_WAIT_SECONDS)
        receive = partial(self._receive, max_messages, visibility_seconds, attempt_id)
        request = asyncio.create_task(receive(wait))
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            self._orphans.add(attempt_id, request, partial(receive, 0))
            raise

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """DeleteMessageBatch."""
        values = [{"ReceiptHandle": handle} for handle in receipt_handles]
        return batches.failures(await self._call_batch("DeleteMessageBatch", values), len(values))

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """ChangeMessageVisibilityBatch."""
        values = [{"ReceiptHandle": each.receipt_handle, "VisibilityTimeout": each.seconds} for each in changes]
        return batches.failures(await self._call_batch("ChangeMessageVisibilityBatch", values), len(values))

    async def counts(self) -> QueueCounts:
        """GetQueueAttributes. Approximate on AWS and up to a minute old; without the age of the oldest message."""
        fields = {"QueueUrl": self._url, "AttributeNames": list(_COUNTS.values())}
        attributes = (await self._transport.call("GetQueueAttributes", fields, self._limits)).get("Attributes") or {}
        try:
            return counts_of(attributes)
        except (TypeError, ValueError) as error:
            raise _unexpected("GetQueueAttributes", error) from error

    async def attributes(self) -> Mapping[str, str]:
        """Settings and counts in one GetQueueAttributes, as SQS spells them."""
        fields = {"QueueUrl": self._url, "AttributeNames": ["All"]}
        attributes = (await self._transport.call("GetQueueAttributes", fields, self._limits)).get("Attributes")
        if not isinstance(attributes, dict):
            raise _unexpected("GetQueueAttributes", TypeError("the response has no attributes"))
        return attributes

    async def close(self) -> None:
        """Releases messages of cancelled receives. The transport stays open."""
        await self._orphans.close()

    async def _send_run(
        self, run: Sequence[OutgoingMessage], messages: Sequence[OutgoingMessage], before: Sequence[Sent | Failed]
    ) -> Sequence[Sent | Failed]:
        failed_groups = {
            message.group_id for message, result in zip(messages, before, strict=False) if isinstance(result, Failed)
        }
        wanted = [message for message in run if message.group_id not in failed_groups]
        try:
            done = iter(await self._send_batch(wanted) if wanted or not run else ())
        except BackendError as error:
            if not before:
                raise  # nothing was sent that the caller would have to know about
            done = iter([_failed(error)] * len(wanted))
        return [batches.NOT_SENT if message.group_id in failed_groups else next(done) for message in run]

    async def _send_batch(self, messages: Sequence[OutgoingMessage]) -> list[Sent | Failed]:
        values = [
            {
                "MessageBody": message.body.decode(),
                "MessageGroupId": message.group_id,
                "MessageDeduplicationId": message.deduplication_id,
            }
            for message in messages
        ]
        response = await self._call_batch("SendMessageBatch", values)
        try:
            return [
                result if isinstance(result, Failed) else _sent(result)
                for result in batches.results(response, len(messages))
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise _unexpected("SendMessageBatch", error) from error

    async def _receive(
        self, max_messages: int, visibility_seconds: int, attempt_id: str, wait_seconds: int
    ) -> Sequence[ReceivedMessage]:
        fields = {
            "QueueUrl": self._url,
            "MaxNumberOfMessages": max_messages,
            "WaitTimeSeconds": wait_seconds,
            "VisibilityTimeout": visibility_seconds,
            "ReceiveRequestAttemptId": attempt_id,
            "MessageSystemAttributeNames": _SYSTEM_ATTRIBUTES,
        }
        limits = CallLimits(wait_seconds + self._response_seconds, _MAX_RECEIVED_BYTES)
        response = await self._transport.call("ReceiveMessage", fields, limits)
        try:
            return [_received(each) for each in response.get("Messages") or ()]
        except (KeyError, TypeError, ValueError) as error:
            raise _unexpected("ReceiveMessage", error) from error

    async def _call_batch(self, action: str, values: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        response: Mapping[str, Any] = await self._transport.call(
            action, {"QueueUrl": self._url, "Entries": batches.entries(values)}, self._limits
        )
        return response

    async def _release(self, messages: Sequence[ReceivedMessage]) -> None:
        await self.change_visibility([VisibilityChange(message.receipt_handle, 0) for message in messages])


def _sent(result: Mapping[str, Any]) -> Sent:
    # SequenceNumber is optional in the API, and the message is on the queue in any case; 0 is below every number.
    return Sent(result["MessageId"], int(result.get("SequenceNumber") or 0))


def _received(message: Mapping[str, Any]) -> ReceivedMessage:
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


def _failed(error: BackendError) -> Failed:
    if isinstance(error, BackendRejectedError):
        return Failed(error.code, error.reason, sender_fault=True)
    return Failed("ServiceUnavailable", str(error), sender_fault=False)


def _unexpected(action: str, error: Exception) -> BackendUnavailableError:
    return BackendUnavailableError(f"{action}: unexpected response: {error!r}")
