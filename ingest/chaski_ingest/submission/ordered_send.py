"""Sends the lines of one batch request so that a line is accepted only if every earlier line of its subject was.

A queue that takes a batch as a whole may be given several lines of a subject in one call. SQS may fail one entry of a
batch and take a later one, so there a subject has one line under way, and the next only after the acknowledgement.
Subjects go side by side.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chaski_core.ports import MAX_BATCH_ENTRIES, OutgoingMessage, Sent
from chaski_ingest.submission.queue_batching import MAX_BATCH_BYTES, NotSent, Result, entry_size


@dataclass(frozen=True, slots=True)
class Line:
    """One line that may be sent."""

    number: int  # from 1
    url: str  # of its queue
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class BlockedByEarlierLine:
    """A line that was not sent because an earlier one of its subject, `line`, was not accepted."""

    line: int


class BatchSender(Protocol):
    """What sends; `Batcher` does."""

    def atomic(self, url: str) -> bool:
        """Whether that queue takes a batch as a whole or not at all."""
        ...

    async def send_together(self, url: str, messages: Sequence[OutgoingMessage]) -> Sequence[Result]:
        """Puts 1 to 10 messages on a queue in one call."""
        ...


class OrderedSend:
    """One batch request's lines on their way to the queues."""

    def __init__(self, sender: BatchSender, lines: Iterable[Line], expired: Callable[[], bool]) -> None:
        """Sorts the lines by subject.

        Args:
            sender: puts them on the queues.
            lines: in the order of the request.
            expired: whether the request's time is over, so that no further line is sent.
        """
        self.results: dict[int, Result | BlockedByEarlierLine] = {}  # by line number
        self._sender = sender
        self._expired = expired
        chains: dict[tuple[str, str], deque[Line]] = {}
        for line in lines:
            chains.setdefault((line.url, line.message.group_id), deque()).append(line)
        self._chains = deque(chains.values())

    async def run(self, workers: int) -> None:
        """Sends all that may be sent, at most `workers` subjects side by side; afterwards every line has a result."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, len(self._chains))):
                group.create_task(self._work())

    async def _work(self) -> None:
        while self._chains:
            await self._send_chain(self._chains.popleft())

    async def _send_chain(self, chain: deque[Line]) -> None:
        url = chain[0].url
        most = MAX_BATCH_ENTRIES if self._sender.atomic(url) else 1
        while chain:
            if self._expired():
                late = NotSent("the request's time was over before this line's turn; it was not sent")
                self.results.update((line.number, late) for line in chain)
                return
            lines = _take(chain, most)
            results = await self._sender.send_together(url, [line.message for line in lines])
            failed = None
            for line, result in zip(lines, results, strict=True):
                self.results[line.number] = result
                if failed is None and not isinstance(result, Sent):
                    failed = line.number
            if failed is not None:
                self.results.update((line.number, BlockedByEarlierLine(failed)) for line in chain)
                return


def _take(chain: deque[Line], most: int) -> list[Line]:
    lines = [chain.popleft()]
    size = entry_size(lines[0].message)
    while chain and len(lines) < most and size + entry_size(chain[0].message) <= MAX_BATCH_BYTES:
        size += entry_size(chain[0].message)
        lines.append(chain.popleft())
    return lines
