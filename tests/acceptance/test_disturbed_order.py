"""Order, while one of three sets of workers is killed and another is paused every few seconds."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from support.devs import RecordingTarget, Seen, recording_target, route, send_batch
from support.disturbed import MAKERS, disturbed_cluster
from support.orderload import RETRY, OrderLoad, answer

LOAD = OrderLoad(subjects=150, messages=15)
SECONDS_BETWEEN_NUMBERS = 1.0  # so that every subject is under way while the workers are disturbed


@pytest.mark.timeout(300)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
@MAKERS
async def test_order_bears_kills_and_pauses(
    tmp_path: Path, maker: str, ordering: str, report: Callable[[str], None]
) -> None:
    """150 subjects of 15 messages that fail now and then: all attempts of each ladder, in order, repeats explained."""
    async with recording_target(answer) as target:
        target.count_arrivals = True
        delivery = {"timeoutSeconds": 3, "concurrencyPerPod": 64}
        document = route("ordered", target.url, ordering=ordering, retry=RETRY, delivery=delivery)
        async with disturbed_cluster(maker, tmp_path, document) as disturbed:
            for lines in LOAD.chunks(150, target.url):
                results = await send_batch(disturbed.http, disturbed.running.url, "t/ordered", lines)
                assert {result["status"] for result in results} == {202}
                await asyncio.sleep(SECONDS_BETWEEN_NUMBERS)
            report(await disturbed.finished(target, lambda: len(begun(target)) >= LOAD.attempts, within=200))
            kept = await disturbed.dead_letters()
    check_attempts(target)
    assert set(kept) == LOAD.exhausted
    assert all(letter.attempts == len(LOAD.expected[each]) for each, letter in kept.items())
    (check_strict if ordering == "Strict" else check_relaxed)(target)


def begun(target: RecordingTarget) -> dict[tuple[str, int], float]:
    """When each attempt first arrived, by message and number."""
    found: dict[tuple[str, int], float] = {}
    for seen in target.arrived:
        found.setdefault((seen.message_id, seen.attempt), seen.at)
    return found


def check_attempts(target: RecordingTarget) -> None:
    """Every message had exactly the attempts of its ladder, once or more often."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for message_id, number in begun(target):
        numbers[message_id].add(number)
    assert numbers == {each: set(range(1, len(statuses) + 1)) for each, statuses in LOAD.expected.items()}


def check_relaxed(target: RecordingTarget) -> None:
    """First attempts in order, and so is each retry number, as they first arrived."""
    order: dict[tuple[str, int], list[int]] = defaultdict(list)
    for message_id, number in sorted(begun(target), key=begun(target).__getitem__):
        subject, _, position = message_id.partition("-")
        order[subject, number].append(int(position))
    assert all(positions == sorted(positions) for positions in order.values())


def check_strict(target: RecordingTarget) -> None:
    """A message first arrives after every attempt of its predecessor was answered."""
    answered: dict[tuple[str, int], float] = {}
    for seen in sorted(target.seen, key=_done):
        answered.setdefault((seen.message_id, seen.attempt), seen.done)
    first = begun(target)
    for subject in {message_id.partition("-")[0] for message_id in LOAD.expected}:
        for before, after in itertools.pairwise(f"{subject}-{number}" for number in range(LOAD.messages)):
            settled = max(answered[before, number + 1] for number in range(len(LOAD.expected[before])))
            assert settled <= first[after, 1], (before, after)


def _done(seen: Seen) -> float:
    return seen.done
