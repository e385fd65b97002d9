"""The environment of a consumer and an ingest, in one process: a queue with SQS's JSON protocol, and a target.

`python -m benchmarks.engine.standin` prints its two URLs and serves until it is terminated. On the target's port,
`POST /load` puts messages on the queue, `GET /report` returns their state.

It is made for speed: FIFO groups, visibility timeouts, long polls and batches are as on SQS; signatures, deduplication and
checksums are ignored.
"""

import asyncio
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import orjson
import uvloop

from benchmarks.engine.fifo import Fifo, Message
from benchmarks.engine.traffic import group, placed, queued
from benchmarks.engine.wire import Request, listen

_ACTION = re.compile(rb"\r\nx-amz-target: *AmazonSQS\.(\w+)\r\n", re.IGNORECASE)
_MARK = re.compile(rb"\r\nbench: *(\d+) (\d+) ([\d.]+)\r\n", re.IGNORECASE)
_SENT_MARK = re.compile(r'"Bench":"other (\d+) (\d+) ')
_TICK_SECONDS = 0.002
_TIMER_SECONDS = 0.001  # uvloop's timers count in milliseconds and may fire this early


class Notes:
    """The arrived messages and their order."""

    def __init__(self) -> None:
        self.first_at = self.last_at = 0.0
        self.repeated = self.out_of_order = 0
        self.seconds: list[float] = []  # of each message's first arrival, since it was put on the queue
        self._seen: dict[int, set[int]] = {}

    def note(self, subject: int, number: int, put: float) -> None:
        """Records the arrival of a message."""
        now = time.monotonic()
        seen = self._seen.setdefault(subject, set())
        if number in seen:
            self.repeated += 1
            return
        if number != len(seen):
            self.out_of_order += 1
        seen.add(number)
        self.seconds.append(now - put)
        self.first_at = self.first_at or now
        self.last_at = now


class Standin:
    """The queue and the target."""

    def __init__(self, target_url: str) -> None:
        self._target_url = target_url
        self._loop = asyncio.get_running_loop()
        self._reset(0.0)
        self._actions: dict[str, Callable[[Request, dict[str, Any]], None]] = {
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete_one,
            "DeleteMessageBatch": self._delete,
            "ChangeMessageVisibilityBatch": self._change,
            "SendMessageBatch": self._send,
            "GetQueueAttributes": self._attributes,
        }

    def _reset(self, answer_seconds: float, send_seconds: float = 0.0) -> None:
        self._fifo = Fifo()
        self._polls: deque[tuple[Request, dict[str, Any], asyncio.TimerHandle]] = deque()
        self._notes = Notes()
        self._calls: Counter[str] = Counter()
        self._deleted = 0
        self._hot_percent = 0
        self._hot_deleted_at = 0.0  # when the last message of the hot subject was deleted
        self._sends: Counter[str] = Counter()  # SendMessageBatch calls by number of entries
        self._answer_seconds = answer_seconds
        self._send_seconds = send_seconds

    # ---- the queue

    def queue(self, request: Request) -> None:
        """One SQS call."""
        found = _ACTION.search(request.head)
        action = found.group(1).decode() if found else ""
        self._calls[action] += 1
        run = self._actions.get(action)
        if run is None:
            request.refuse(orjson.dumps({"__type": "InvalidAction", "message": f"{action} is unknown"}))
        else:
            run(request, orjson.loads(request.body))

    def _receive(self, request: Request, fields: dict[str, Any]) -> None:
        if self._give(request, fields):
            return
        wait = fields.get("WaitTimeSeconds", 0)
        if wait:
            self._polls.append((request, fields, self._loop.call_later(wait, self._end_poll, request)))
        else:
            request.answer(b"{}")

    def _give(self, request: Request, fields: dict[str, Any]) -> bool:
        taken = self._fifo.receive(
            fields.get("MaxNumberOfMessages", 1), fields.get("VisibilityTimeout", 30), time.monotonic()
        )
        if taken:
            request.answer(orjson.dumps({"Messages": [_message_fields(message) for message in taken]}))
        return bool(taken)

    def _wake(self) -> None:
        while self._polls:
            request, fields, timer = self._polls.popleft()
            if not request.alive or self._give(request, fields):
                timer.cancel()
            else:
                self._polls.appendleft((request, fields, timer))
                return

    def _end_poll(self, request: Request) -> None:
        self._polls = deque(poll for poll in self._polls if poll[0] is not request)
        request.answer(b"{}")

    def _delete(self, request: Request, fields: dict[str, Any]) -> None:
        entries = fields["Entries"]
        request.answer(_batch(entries, self._deletes([entry["ReceiptHandle"] for entry in entries])))
        self._wake()

    def _delete_one(self, request: Request, fields: dict[str, Any]) -> None:
        self._deletes([fields["ReceiptHandle"]])
        request.answer(b"{}")
        self._wake()

    def _deletes(self, handles: list[str]) -> list[bool]:
        now = time.monotonic()
        done = self._fifo.delete(handles, now)
        self._deleted += sum(done)
        if self._hot_percent and not self._hot_deleted_at and not self._fifo.has(group(0)):
            self._hot_deleted_at = now
        return done

    def _change(self, request: Request, fields: dict[str, Any]) -> None:
        entries, now = fields["Entries"], time.monotonic()
        done = [self._fifo.change(entry["ReceiptHandle"], entry["VisibilityTimeout"], now) for entry in entries]
        request.answer(_batch(entries, done))
        self._wake()

    def _send(self, request: Request, fields: dict[str, Any]) -> None:
        """Records the messages of an ingest; responds after the configured time."""
        wait = self._send_seconds + _TIMER_SECONDS if self._send_seconds else 0.0
        self._loop.call_later(wait, self._sent, request, fields["Entries"])

    def _sent(self, request: Request, entries: list[dict[str, Any]]) -> None:
        self._sends[str(len(entries))] += 1
        for entry in entries:
            found = _SENT_MARK.search(entry["MessageBody"])
            if found:
                self._notes.note(int(found.group(1)), int(found.group(2)), 0.0)
        done = [{"Id": each["Id"], "MessageId": each["Id"], "SequenceNumber": "1"} for each in entries]
        request.answer(orjson.dumps({"Successful": done}))

    def _attributes(self, request: Request, _: dict[str, Any]) -> None:
        visible, hidden = self._fifo.counts(time.monotonic())
        counts = {"": visible, "NotVisible": hidden, "Delayed": 0}
        names = {f"ApproximateNumberOfMessages{name}": str(number) for name, number in counts.items()}
        request.answer(orjson.dumps({"Attributes": names}))

    # ---- the target

    def target(self, request: Request) -> None:
        """One delivery, or a call of the benchmark."""
        found = _MARK.search(request.head)
        if found:
            subject, number, put = found.groups()
            self._notes.note(int(subject), int(number), float(put))
            if self._answer_seconds:
                self._loop.call_later(self._answer_seconds, request.accept)
            else:
                request.accept()
        elif request.head.startswith(b"POST /load"):
            self._load(orjson.loads(request.body))
            request.accept()
        else:
            request.answer(orjson.dumps(self._report(latencies=b"?latencies" in request.head)))

    def _load(self, asked: dict[str, Any]) -> None:
        polls = self._polls
        self._reset(asked["answer_seconds"], asked["send_seconds"])
        # Pending receives stay, and get messages of this load: without them a consumer seemed to make fewer calls.
        self._polls = polls
        self._calls["ReceiveMessage"] = len(polls)
        self._hot_percent = asked["hot_percent"]
        messages, subjects, rate = asked["messages"], asked["subjects"], asked["rate"]
        if rate:
            self._drip(0, messages, subjects, rate, time.monotonic())
        else:
            self._put(range(messages), subjects)

    def _drip(self, done: int, messages: int, subjects: int, rate: float, start: float) -> None:
        due = min(messages, int((time.monotonic() - start) * rate) + 1)
        self._put(range(done, due), subjects)
        if due < messages:
            self._loop.call_later(_TICK_SECONDS, partial(self._drip, due, messages, subjects, rate, start))

    def _put(self, numbers: Iterable[int], subjects: int) -> None:
        now = time.monotonic()
        for number in numbers:
            subject, position = placed(number, subjects, self._hot_percent)
            self._fifo.send(group(subject), queued(self._target_url, subject, position, now), now)
        self._wake()

    def _report(self, *, latencies: bool) -> dict[str, Any]:
        notes = self._notes
        return {
            "came": len(notes.seconds),
            "repeated": notes.repeated,
            "out_of_order": notes.out_of_order,
            "first_at": notes.first_at,
            "last_at": notes.last_at,
            "deleted": self._deleted,
            "hot_deleted_at": self._hot_deleted_at,
            "calls": self._calls,
            "sends": self._sends,
            "seconds": notes.seconds if latencies else [],
        }


def _message_fields(message: Message) -> dict[str, Any]:
    return {
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "Body": message.body,
        "Attributes": {
            "MessageGroupId": message.group.name,
            "MessageDeduplicationId": message.id,
            "SequenceNumber": message.id[2:],
            "SentTimestamp": str(_epoch_ms(message.sent_ms)),
            "ApproximateReceiveCount": str(message.receives),
            "ApproximateFirstReceiveTimestamp": str(_epoch_ms(message.first_received_ms)),
        },
    }


_AHEAD_MS = int((time.time() - time.monotonic()) * 1000)


def _epoch_ms(monotonic_ms: int) -> int:
    return monotonic_ms + _AHEAD_MS


def _batch(entries: list[dict[str, Any]], done: list[bool]) -> bytes:
    good = [{"Id": entry["Id"]} for entry, well in zip(entries, done, strict=True) if well]
    bad = [
        {"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "Message": "not held by it", "SenderFault": True}
        for entry, well in zip(entries, done, strict=True)
        if not well
    ]
    return orjson.dumps({"Successful": good, "Failed": bad})


async def _serve() -> None:
    standin: Standin | None = None

    def to_target(request: Request) -> None:
        assert standin is not None  # noqa: S101 - the port is unknown before
        standin.target(request)

    target = f"http://127.0.0.1:{await listen(to_target)}/"
    standin = Standin(target)
    sqs = f"http://127.0.0.1:{await listen(standin.queue)}/"
    sys.stdout.write(f"{sqs} {target}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Serves."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
