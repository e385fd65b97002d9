"""More messages for a host that fails than SQS searches for subjects: those of other hosts behind them are delivered all the same."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.message.subject import first_deduplication_id, group_id
from chaski_core.ports import OutgoingMessage
from support.aws.emulators import running_emulators
from support.processes.dev import recording_target, route, wait_until
from support.processes.services import Cloud, Service

pytestmark = pytest.mark.slow

HELD, HELD_SUBJECTS, OTHERS = 130_000, 1_300, 200
SCANNED = 120_000  # among which SQS finds subjects
WITHIN = 240.0
RETRY = {
    "rungs": [{"name": "later", "delaySeconds": 600}],
    "ladders": [{"class": "any", "retriesPerRung": 1, "rungs": ["later"]}],
}
AT_ONCE = {
    "rungs": [],
    "ladders": [{"class": "any", "retriesPerRung": 0, "rungs": []}],
}  # in Strict only the end of a message shortens the queue


def messages(url: str, number_of: int, subjects: int, name: str) -> Iterator[OutgoingMessage]:
    """As ingest sends them."""
    for number in range(number_of):
        subject = f"{name}{number % subjects}"
        label = f"{subject}-{number // subjects}"
        metadata = Metadata(id=label, route="t/r", accepted_at=round(time.time() * 1000))
        body = write_envelope({"subject": subject, "body": {"url": url}}, metadata)
        yield OutgoingMessage(body, group_id(subject), first_deduplication_id(label))


@pytest.mark.timeout(900)
@pytest.mark.promise(9)
@pytest.mark.parametrize(("ordering", "retry"), [("Relaxed", RETRY), ("Strict", AT_ONCE)])
async def test_others_are_delivered_behind_130000_messages_of_a_held_host(
    tmp_path: Path, ordering: str, retry: dict[str, object], report: Callable[[str], None]
) -> None:
    """The breaker's hold ends at the backlog limit: messages leave the queue until the others are among those searched."""
    async with (
        running_emulators("embedded", tmp_path) as urls,
        recording_target(lambda *_: (0.0, 503)) as failing,
        recording_target(lambda *_: (0.0, 200)) as well,
    ):
        rules = [{"name": "failing", "url": failing.url}, {"name": "well", "url": well.url}]
        cloud = Cloud(*urls, tmp_path)
        document = route(
            "r", well.url, ordering=ordering, retry=retry,
            queues=[{"name": "messages", "partitions": 1}],
            targets={"allow": rules},
            delivery={"timeoutSeconds": 5, "concurrencyPerPod": 64, "breaker": {}},
        )  # fmt: skip
        await cloud.make(document)
        worker = Service(cloud, tmp_path / "worker.log", "chaski-worker", "consume", "--route", str(cloud.file))
        try:
            await cloud.send("messages", messages(failing.url, HELD // 2, HELD_SUBJECTS, "held"))
            await worker.start()
            await wait_until(lambda: b'"hold-started"' in worker.log.read_bytes(), 60)
            await asyncio.sleep(10)
            below = len(failing.seen)  # the hold is in force while the queue is below the limit
            await asyncio.sleep(10)
            assert len(failing.seen) - below <= 2
            await cloud.send("messages", messages(failing.url, HELD - HELD // 2, HELD_SUBJECTS, "behind"))
            await cloud.send("messages", messages(well.url, OTHERS, OTHERS, "other"))
            began, before = time.monotonic(), len(failing.seen)
            await wait_until(lambda: len(well.seen) == OTHERS, WITHIN)
            took, attempts = time.monotonic() - began, len(failing.seen) - before
            await cloud.close()
        finally:
            await worker.end()
    report(f"{ordering}: {OTHERS} others within {took:.0f} s, beside {attempts} attempts to the held host")
    assert Counter(each.label for each in well.seen) == Counter(f"other{number}-0" for number in range(OTHERS))
    assert attempts >= HELD - SCANNED - below
