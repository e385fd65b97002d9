"""Sends a window of messages, those of one subject one after the other, and returns which were acknowledged."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import MAX_BATCH_ENTRIES, Failed
from chaski_replay.backends import Sender
from chaski_replay.selection import Ready

_MAX_BATCH_BYTES = 1_000_000  # of 1 MiB: API_SendMessageBatch counts all entries, ids included
_ENTRY_BYTES = 256


@dataclass(slots=True)
class WindowResult:
    """The outcome of a window."""

    acknowledged: list[tuple[Ready, str]] = field(default_factory=list)  # with the identity of the new message
    failed: str = ""  # why the rest was not acknowledged


async def send_window(
    window: Sequence[Ready], queue: Callable[[str], Sender], may_start: Callable[[], bool]
) -> WindowResult:
    """Sends messages to all queues concurrently. Once `may_start` is false the rest is left, which is not a failure.

    After a failure nothing more of that subject is sent. A message that was stored without an acknowledgement has the
    same deduplication id when it is sent again.

    Raises:
        BackendRejectedError: a queue rejects the call permanently.
    """
    by_queue: dict[str, list[Ready]] = {}
    for each in window:
        by_queue.setdefault(each.queue_url, []).append(each)
    result = WindowResult()
    endings = await asyncio.gather(
        *(_send_queue(queue(url), entries, result, may_start) for url, entries in by_queue.items()),
        return_exceptions=True,
    )
    for error in endings:
        if isinstance(error, BaseException):
            raise error
    return result


async def _send_queue(
    queue: Sender, entries: Sequence[Ready], result: WindowResult, may_start: Callable[[], bool]
) -> None:
    chains = _chains(entries, together=queue.atomic_batches)
    while chains and may_start():
        batch = _take(chains, together=queue.atomic_batches)
        try:
            results = await queue.send([each.message for each in batch])
        except BackendUnavailableError as error:
            result.failed = str(error)
            return
        for each, entry in zip(batch, results, strict=True):
            if isinstance(entry, Failed):
                result.failed = f"{entry.code}: {entry.reason}"
                chains = deque(chain for chain in chains if chain[0].message.group_id != each.message.group_id)
            else:
                result.acknowledged.append((each, entry.message_id))


def _chains(entries: Iterable[Ready], *, together: bool) -> deque[deque[Ready]]:
    if together:  # a batch is stored as a whole or not at all, so it may hold several messages of a subject
        return deque([deque(entries)])
    chains: dict[str, deque[Ready]] = {}
    for each in entries:
        chains.setdefault(each.message.group_id, deque()).append(each)
    return deque(chains.values())


def _take(chains: deque[deque[Ready]], *, together: bool) -> list[Ready]:
    batch: list[Ready] = []
    size = 0
    limit = MAX_BATCH_ENTRIES if together else min(MAX_BATCH_ENTRIES, len(chains))
    for _ in range(limit):
        if not chains:
            break
        chain = chains[0]
        size += len(chain[0].message.body) + _ENTRY_BYTES
        if batch and size > _MAX_BATCH_BYTES:
            break
        batch.append(chain.popleft())
        if not together:
            chains.rotate(-1)
        if not chain:
            chains.remove(chain)
    return batch
