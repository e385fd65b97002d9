"""The two passes of a replay, with queues and a store in memory that fail on demand."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest

from chaski_core.dead_letter import CLAIM_MS, DeadLetterFilter, ReplayClaim
from chaski_core.errors import BackendRejectedError
from chaski_core.message.envelope import Envelope, Metadata, read_envelope, write_envelope
from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_replay.backends import OpenBackend
from chaski_replay.engine import Progress, Replay, Selection, Throttle, prepare
from chaski_replay.selection import Run, SkipReason
from chaski_replay.spool import Spool
from support.dead_letters.builder import a_dead_letter
from support.worker.harness import make_route, resolve
from support.worker.memory_backend import EPOCH_MS, LoopClock, MemoryBackend, MemoryQueue, unavailable

pytestmark = pytest.mark.looptime
ROUTES = {"ns/r": resolve(make_route(partitions=3))}


async def backend_with(count: int = 300, subjects: int = 10) -> tuple[MemoryBackend, OpenBackend]:
    """A backend with `count` dead letters, dead-lettered in another order than accepted."""
    backend = MemoryBackend(LoopClock())
    turns = list(range(count))
    random.Random(7).shuffle(turns)
    for position, number in enumerate(turns):
        subject = f"s{number % subjects}"
        document = {"subject": subject, "body": {"url": "http://t0.example/"}}
        envelope = read_envelope(
            write_envelope(document, Metadata(f"m{number:05}", "ns/r", EPOCH_MS - 90_000 + number))
        )
        assert isinstance(envelope, Envelope)
        await backend.dead_letters.put(
            a_dead_letter(
                f"m{number:05}",
                subject=subject,
                dead_lettered_at=EPOCH_MS - 60_000 + position,
                error_class="500" if number % 2 else "404",
                target="t0",
                url="http://t0.example/",
                envelope=envelope.document,
            )
        )
    return backend, OpenBackend(backend.dead_letters, backend.queue, ROUTES)


async def run(
    opened: OpenBackend,
    stop_after: int | None = None,
    throttle: Throttle | None = None,
    name: str = "run",
    **wanted: str,
) -> Progress:
    """Both passes."""
    stop = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        if stop_after is not None and progress.sent >= stop_after:
            stop.set()

    with Spool() as spool:
        chosen = Selection(DeadLetterFilter(until=EPOCH_MS, **wanted))
        progress = await prepare(opened, chosen, Run(name), lambda _route, _url: True, spool, lambda _progress: None)
        replay = Replay(opened, Run(name), throttle or Throttle(), LoopClock(), on_progress, stop)
        await replay.send(spool, progress)
    return progress


async def on_queues(backend: MemoryBackend) -> dict[str, list[str]]:
    """Ids on the queues by subject, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for queue in list(backend.queues.values()):
        while received := await queue.receive(
            max_messages=10, wait_seconds=0, visibility_seconds=1_000, attempt_id=str(random.random())
        ):
            for message in received:
                envelope = read_envelope(message.body)
                assert isinstance(envelope, Envelope)
                assert envelope.metadata is not None
                found[envelope.subject].append(str(envelope.metadata.id))
            await queue.delete([message.receipt_handle for message in received])
    return dict(found)


def expected(count: int, subjects: int, remainder: int | None = None) -> dict[str, list[str]]:
    """Ids by subject in order of acceptance; `remainder`: only odd (1) or even (0) ones."""
    found: dict[str, list[str]] = defaultdict(list)
    for number in range(count):
        if remainder is None or number % 2 == remainder:
            found[f"s{number % subjects}"].append(f"m{number:05}")
    return dict(found)


async def test_order_of_acceptance_is_kept_for_each_subject() -> None:
    """Whatever the order of dead-lettering; each once, and marked."""
    backend, opened = await backend_with()
    progress = await run(opened)
    assert (progress.found, progress.ready, progress.sent, progress.failed) == (300, 300, 300, "")
    assert await on_queues(backend) == expected(300, 10)
    assert all(letter.replay is not None for letter in backend.dead_letters.kept.values())


async def test_exactly_the_filtered_set_is_sent() -> None:
    """The same run again has nothing to do."""
    backend, opened = await backend_with()
    await run(opened, error_class="5xx")
    assert await on_queues(backend) == expected(300, 10, 1)
    again = await run(opened, error_class="5xx")
    assert (again.ready, again.skipped[SkipReason.DONE]) == (0, 150)
    assert await on_queues(backend) == {}


async def test_a_stopped_run_is_resumed_where_it_was() -> None:
    """Each message once, in order."""
    backend, opened = await backend_with()
    first = await run(opened, stop_after=100)
    assert first.failed == "stopped"
    assert 100 <= first.sent < 300
    second = await run(opened)
    assert first.sent + second.sent == 300
    assert await on_queues(backend) == expected(300, 10)


@pytest.mark.parametrize("together", [True, False], ids=["whole batches", "single entries"])
async def test_failures_keep_the_order(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that fail inside a success, calls that fail before and after they took effect, marks that fail."""
    monkeypatch.setattr(MemoryQueue, "atomic_batches", property(lambda _self: together))
    backend, opened = await backend_with()
    chance = random.Random(3)

    def sometimes(_action: str) -> None:
        if chance.random() < 0.1:
            raise unavailable()

    def entry(action: str, _index: int) -> Failed | None:
        return Failed("InternalError", "x", sender_fault=False) if action == "send" and chance.random() < 0.1 else None

    backend.faults.before = backend.faults.after = sometimes
    if not together:  # a queue that takes batches as a whole fails them as a whole
        backend.faults.entry = entry
    progress = await run(opened)
    backend.faults.before = backend.faults.after = lambda _action: None
    backend.faults.entry = lambda _action, _index: None
    assert (progress.sent, progress.failed) == (300, "")
    assert await on_queues(backend) == expected(300, 10)


async def test_a_queue_that_stays_unavailable_ends_the_run_with_the_reason() -> None:
    """After a minute; sent dead letters are marked, and the next run sends the rest."""
    backend, opened = await backend_with()

    def fail(action: str) -> None:
        if action == "send" and asyncio.get_running_loop().time() > 5:
            raise unavailable()

    backend.faults.before = fail
    progress = await run(opened, throttle=Throttle(rate=20))
    assert progress.failed
    assert 0 < progress.sent < 300
    backend.faults.before = lambda _action: None
    await run(opened)
    assert await on_queues(backend) == expected(300, 10)


async def test_the_rate_is_limited() -> None:
    """300 messages at 30 a second take ten seconds."""
    _, opened = await backend_with()
    began = asyncio.get_running_loop().time()
    await run(opened, throttle=Throttle(rate=30))
    assert 9.5 <= asyncio.get_running_loop().time() - began <= 10.5


async def test_a_permanent_error_ends_the_run_at_once() -> None:
    """For example if SendMessage is not permitted."""
    _, opened = await backend_with()

    class Rejecting:
        atomic_batches = False

        async def send(self, _messages: Sequence[object]) -> Sequence[Failed]:
            raise BackendRejectedError("AccessDenied", "no")

    rejecting = OpenBackend(opened.dead_letters, lambda _url: Rejecting(), ROUTES)
    with pytest.raises(BackendRejectedError, match="AccessDenied"):
        await run(rejecting)


async def test_two_runs_at_once_send_each_once() -> None:
    """Per window: a run waits for dead letters that the other holds, and skips them once they are marked."""
    backend, opened = await backend_with()
    first, second = await asyncio.gather(run(opened, name="one"), run(opened, name="two"))
    assert (first.failed, second.failed) == ("", "")
    assert first.sent + second.sent == 300
    assert first.skipped[SkipReason.REPLAYED] + second.skipped[SkipReason.REPLAYED] == 300
    assert (first.ready, second.ready) == (first.sent, second.sent)
    assert await on_queues(backend) == expected(300, 10)


async def test_a_slow_run_skips_what_another_sends_in_between() -> None:
    """Also after the five minutes of SQS deduplication: it claims each window just before sending."""
    backend, opened = await backend_with(5, 1)
    slow = asyncio.create_task(run(opened, throttle=Throttle(rate=0.01), name="slow"))
    await asyncio.sleep(5)
    fast = await run(opened, name="fast")
    assert (fast.sent, fast.skipped[SkipReason.REPLAYED]) == (4, 1)
    slow_one = await slow
    assert (slow_one.sent, slow_one.skipped[SkipReason.REPLAYED], slow_one.failed) == (1, 4, "")
    assert await on_queues(backend) == expected(5, 1)


async def test_claims_of_a_killed_run_are_held_for_it_or_for_five_minutes() -> None:
    """Another run sends other subjects and reports the held ones; the same run resumes at once."""
    backend, opened = await backend_with(20, 10)
    held = [each for each in backend.dead_letters.letters if each.subject == "s3"]
    claim = ReplayClaim("killed", LoopClock().now_ms())
    await opened.dead_letters.claim([(each.key, None) for each in held], claim)
    other = await run(opened, name="other")
    assert other.sent == 18
    assert other.failed.startswith("2 of these dead letters are held")
    same = await run(opened, name="killed")
    assert same.sent == 2
    assert await on_queues(backend) == expected(20, 10)


async def test_a_run_that_ends_early_releases_its_claims() -> None:
    """Another run need not wait for five minutes."""
    backend, opened = await backend_with(20, 10)

    def fail(action: str) -> None:
        if action == "send":
            raise unavailable()

    backend.faults.before = fail
    assert (await run(opened, name="one")).failed
    backend.faults.before = lambda _action: None
    other = await run(opened, throttle=Throttle(retry_seconds=0), name="two")
    assert (other.sent, other.failed) == (20, "")


async def test_a_slow_window_is_claimed_again_before_its_claim_expires() -> None:
    """Each batch starts within four minutes of its claim; this is not a failure."""
    backend, opened = await backend_with(40, 1)
    claims: list[int] = []

    def slowly(action: str) -> None:
        if action == "claim":
            claims.append(LoopClock().now_ms())

    class Slow:
        atomic_batches = False

        async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
            await asyncio.sleep(20)
            assert LoopClock().now_ms() - claims[-1] < CLAIM_MS
            return await backend.queue("q").send(messages)

    backend.faults.before = slowly
    progress = await run(OpenBackend(opened.dead_letters, lambda _url: Slow(), ROUTES))
    assert (progress.sent, progress.failed) == (40, "")
    assert len(claims) == 4  # 800 s, 240 s each
    assert (await on_queues(backend)) == expected(40, 1)


async def test_marks_name_the_message_that_was_sent() -> None:
    """So that `trace` and `ledger` find it."""
    backend, opened = await backend_with(3, 1)
    await run(opened)
    marked = {letter.replay.message_id for letter in backend.dead_letters.letters if letter.replay is not None}
    (queue,) = [queue for queue in backend.queues.values() if (await queue.counts()).total]
    received = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=1, attempt_id="")
    assert marked == {message.message_id for message in received}


async def test_within_a_subject_the_sequence_numbers_of_the_first_queue_decide() -> None:
    """Whatever the clocks of the accepting Pods: here they differ by two hours."""
    backend, opened = await backend_with(0)
    for number, accepted in enumerate((0, 7_200_000, 7_200_001, 5, 5, 6)):
        document = {"subject": "s0", "body": {"url": "http://t0.example/"}}
        envelope = read_envelope(write_envelope(document, Metadata(f"m{number:05}", "ns/r", EPOCH_MS + accepted)))
        assert isinstance(envelope, Envelope)
        await backend.dead_letters.put(
            a_dead_letter(f"i{9 - number}", id=f"m{number:05}", subject="s0", dead_lettered_at=EPOCH_MS - 9 - number, error_class="500", target="t0", url="http://t0.example/", envelope=envelope.document, sequence_number=2**100 + number)
        )  # fmt: skip
    assert (await run(opened)).sent == 6
    assert await on_queues(backend) == expected(6, 1)
