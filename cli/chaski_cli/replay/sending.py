"""Sends a window of messages, a subject's one after the other, and says which of them their queues have acknowledged."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chaski_cli.backends import Sender
from chaski_cli.replay.selection import Ready
from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import MAX_BATCH_ENTRIES, Failed

_MAX_BATCH_BYTES = 1_000_000  # of 1 MiB: API_SendMessageBatch counts all entries, ids included
_ENTRY_BYTES = 256


@dataclass(slots=True)
class Sending:
    """What became of a window."""

    acknowledged: list[tuple[Ready, str]] = field(default_factory=list)  # with the identity of what was sent
    failed: str = ""  # why what is left was not acknowledged


async def send_window(window: Sequence[Ready], queue: Callable[[str], Sender], in_time: Callable[[], bool]) -> Sending:
    """Sends messages; queues go side by side. What `in_time` comes to forbid is left, without a failure.

    After a failure nothing more of that subject is sent; a message that may have been taken without an acknowledgement
    has the same deduplication id when it is sent again.

    Raises:
        BackendRejectedError: a queue refuses for good.
    """
    by_queue: dict[str, list[Ready]] = {}
    for each in window:
        by_queue.setdefault(each.url, []).append(each)
    sending = Sending()
    results = await asyncio.gather(
        *(_send_queue(queue(url), entries, sending, in_time) for url, entries in by_queue.items()),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return sending


async def _send_queue(queue: Sender, entries: Sequence[Ready], sending: Sending, in_time: Callable[[], bool]) -> None:
    chains = _chains(entries, together=queue.atomic_batches)
    while chains and in_time():
        batch = _take(chains, together=queue.atomic_batches)
        try:
            results = await queue.send([each.message for each in batch])
        except BackendUnavailableError as error:
            sending.failed = str(error)
            return
        for each, result in zip(batch, results, strict=True):
            if isinstance(result, Failed):
                sending.failed = f"{result.code}: {result.reason}"
                chains = deque(chain for chain in chains if chain[0].message.group_id != each.message.group_id)
            else:
                sending.acknowledged.append((each, result.message_id))


def _chains(entries: Iterable[Ready], *, together: bool) -> deque[deque[Ready]]:
    if together:  # a batch is taken as a whole or not at all, so it may hold several of a subject
        return deque([deque(entries)])
    chains: dict[str, deque[Ready]] = {}
    for each in entries:
        chains.setdefault(each.message.group_id, deque()).append(each)
    return deque(chains.values())


def _take(chains: deque[deque[Ready]], *, together: bool) -> list[Ready]:
    batch: list[Ready] = []
    size = 0
    turns = MAX_BATCH_ENTRIES if together else min(MAX_BATCH_ENTRIES, len(chains))
    for _ in range(turns):
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
