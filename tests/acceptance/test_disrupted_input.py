"""Old and odd input, and skew, while one of three sets of workers is killed and another is paused every few seconds."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from support.faults.disrupted_workers import MAKERS, DisruptedCluster, disrupted_cluster
from support.processes.dev import RecordingTarget, recording_target, route, send_batch
from support.worker import malformed_traffic

pytestmark = pytest.mark.landing

HOT, OTHERS, OTHER_SUBJECTS = 500, 106, 50  # in the predecessor's proportion
HOT_SECONDS = 0.06  # for one answer: half a minute for all
ORDERINGS = pytest.mark.parametrize("ordering", ["Relaxed", pytest.param("Strict", marks=pytest.mark.slow)])
DELIVERY = {"timeoutSeconds": 3, "concurrencyPerPod": 64}


@pytest.mark.timeout(300)
@pytest.mark.promise(2)
@pytest.mark.promise(5)
@ORDERINGS
@MAKERS
async def test_odd_input_survives_kills_and_pauses(
    tmp_path: Path, maker: str, ordering: str, report: Callable[[str], None]
) -> None:
    """Odd subjects, bodies and fields, the predecessor's JSON and malformed bytes: each is delivered or kept unchanged."""
    relaxed = ordering == "Relaxed"
    async with recording_target(slowly) as target:
        target.count_arrivals = target.keep_bodies = True
        document = route("odd", target.url, ordering=ordering, retry=malformed_traffic.RETRY, delivery=DELIVERY)
        document["spec"]["queues"] = [{"name": "messages", "partitions": 1}]
        async with disrupted_cluster(maker, tmp_path, document) as disrupted:
            old, second = (malformed_traffic.old_message(f"{target.url}200", content) for content in ("old", "2nd"))
            await disrupted.cloud.put("-messages-", [old, b"no envelope", b'{"subject": 1}', second])
            if relaxed:
                await disrupted.cloud.put("-rung-fast", [old])
            failing = malformed_traffic.unknown_fields(target.url)
            await post(disrupted, json.dumps({"id": "failing", **failing}).encode(), "failing")
            expected: dict[str, bytes] = {}
            for name, message, body in malformed_traffic.odd_messages(target.url):
                if maker == "elasticmq" and name == "large":
                    continue  # 1.6.12 accepts no message of more than 262,144 bytes; AWS's limit is 1 MiB since 2025
                await post(disrupted, message, name)
                expected[name] = body
                await asyncio.sleep(0.5)
            attempts = len(expected) + 2 + 2  # the two old ones once, the failing one twice
            report(await disrupted.finished(target, lambda: len(seen(target)) >= attempts, 120, ["failing", *expected]))
            kept = await disrupted.dead_letters()
    assert {name: target.bodies[name] for name in expected} == expected
    assert sorted(body for name, body in target.bodies.items() if name not in {*expected, "failing"}) == [
        b"2nd",
        b"old",
    ]
    assert len(seen(target)) == attempts
    reasons = ["exhausted", "malformed", "malformed", *(["no-metadata"] if relaxed else [])]
    assert sorted(letter.reason for letter in kept.values()) == reasons
    envelope = dict(kept["failing"].envelope or {})
    envelope.pop("metadata")
    assert envelope == {"id": "failing", **failing}
    assert {letter.raw for letter in kept.values() if letter.raw} == {b"no envelope", b'{"subject": 1}'}


def slowly(path: str, message_id: str, attempt: int) -> tuple[float, int]:
    """Slow enough that kills and pauses hit attempts under way."""
    return 1.5, malformed_traffic.answer(path, message_id, attempt)[1]


def seen(target: RecordingTarget) -> set[tuple[str, int]]:
    """Messages and numbers of the attempts that arrived."""
    return {(each.label, each.attempt) for each in target.arrived}


async def post(disrupted: DisruptedCluster, body: bytes, message_id: str) -> None:
    """Sends one message's bytes."""
    url = f"{disrupted.running.url}/v1/routes/t/odd/messages"
    async with disrupted.http.post(url, data=body, headers={"Content-Type": "application/json"}) as got:
        assert (got.status, orjson.loads(await got.read())["id"]) == (202, message_id)


def answer(_path: str, message_id: str, _attempt: int) -> tuple[float, int]:
    """The hot subject's target is slow."""
    return (HOT_SECONDS if message_id.startswith("hot") else 0.0), 200


@pytest.mark.timeout(300)
@pytest.mark.promise(3)
@pytest.mark.promise(9)
@ORDERINGS
@MAKERS
async def test_skew_survives_kills_and_pauses(
    tmp_path: Path, maker: str, ordering: str, report: Callable[[str], None]
) -> None:
    """One subject holds most messages: the others do not wait behind it, nothing is lost, its order is kept."""
    async with recording_target(answer) as target:
        target.count_arrivals = True
        document = route("skew", target.url, ordering=ordering, delivery=DELIVERY)
        document["spec"]["queues"] = [{"name": "messages", "partitions": 1}]
        async with disrupted_cluster(maker, tmp_path, document) as disrupted:
            await send(disrupted, target, [(f"hot-{n}", "hot") for n in range(HOT)])
            accepted = {}
            for number in range(OTHERS):
                await send(disrupted, target, [(f"other-{number}", f"s{number % OTHER_SUBJECTS}")])
                accepted[f"other-{number}"] = time.monotonic()
                await asyncio.sleep(0.05)
            ids = [*accepted, *(f"hot-{n}" for n in range(HOT))]
            happened = await disrupted.finished(target, lambda: len(seen(target)) >= HOT + OTHERS, 150, ids)
            assert not await disrupted.dead_letters()
    firsts: dict[str, float] = {}
    for each in target.arrived:
        firsts.setdefault(each.label, each.at)
    assert [name for name in firsts if name.startswith("hot")] == [f"hot-{n}" for n in range(HOT)]
    for subject in range(OTHER_SUBJECTS):
        mine = [f"other-{n}" for n in range(subject, OTHERS, OTHER_SUBJECTS)]
        assert [name for name in firsts if name in mine] == mine
    waited = statistics.median(firsts[name] - at for name, at in accepted.items())
    assert max(firsts[name] for name in accepted) < firsts[f"hot-{HOT - 1}"]
    report(f"{happened}; the others waited {waited * 1000:.0f} ms in the median")


async def send(disrupted: DisruptedCluster, target: RecordingTarget, messages: list[tuple[str, str]]) -> None:
    """Sends messages, given by id and subject."""
    lines = [{"id": each, "subject": subject, "body": {"url": target.url}} for each, subject in messages]
    results = await send_batch(disrupted.http, disrupted.running.url, "t/skew", lines)
    assert {result["status"] for result in results} == {202}
