"""Held hosts with real processes: `chaski dev`, and `chaski-worker` on the SQS protocol whose route file changes."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from support.aws.emulators import running_emulators
from support.processes.dev import RecordingTarget, Seen, dev_server, recording_target, route, send_batch, wait_until
from support.processes.services import Cloud, Service

pytestmark = pytest.mark.landing

BOTH = pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
WAIT = 10  # seconds that a target asks for
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "any", "retriesPerRung": 3, "rungs": ["fast"]}],
}


def lines(target: RecordingTarget, prefix: str, numbers: range, subjects: int = 10) -> list[dict[str, object]]:
    """Messages `<prefix><subject>-<number>` to a target, number by number."""
    ids = [(f"{prefix}{subject}", f"{prefix}{subject}-{number}") for number in numbers for subject in range(subjects)]
    return [{"id": each, "subject": subject, "body": {"url": target.url}} for subject, each in ids]


def assert_delivered_in_order(target: RecordingTarget, prefix: str, number_of: int, subjects: int = 10) -> None:
    """Each message once with 200, those of a subject in order."""
    delivered = sorted((seen for seen in target.seen if seen.status == 200), key=lambda seen: seen.at)
    for subject in range(subjects):
        labels = [seen.label for seen in delivered if seen.label.startswith(f"{prefix}{subject}-")]
        assert labels == [f"{prefix}{subject}-{number}" for number in range(number_of)]


@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_dev_holds_a_host_that_asks_to_wait_and_a_suspended_target(tmp_path: Path, ordering: str) -> None:
    """503 with Retry-After to one message: the host's other subjects wait as long, uncharged; another host's go on."""
    asking = True
    async with (
        recording_target(lambda *_: (0.0, 503 if asking else 200)) as busy,
        recording_target(lambda *_: (0.0, 200)) as free,
        recording_target(lambda *_: (0.0, 200)) as suspended,
        aiohttp.ClientSession() as http,
    ):
        busy.headers_of_failures = {"Retry-After": str(WAIT)}
        rules = [
            {"name": "busy", "url": busy.url},
            {"name": "free", "url": free.url},
            {"name": "suspended", "url": suspended.url, "suspend": True},
        ]
        document = route("r", busy.url, ordering=ordering, retry=RETRY, targets={"allow": rules})
        async with dev_server(tmp_path, document) as server:
            await send_batch(http, server.url, "t/r", lines(busy, "first", range(1), 1))
            await wait_until(lambda: len(busy.seen) == 1, 60)
            asking = False
            for target, prefix in ((busy, "b"), (free, "f"), (suspended, "s")):
                await send_batch(http, server.url, "t/r", lines(target, prefix, range(5)))
            await wait_until(lambda: len(free.seen) == 50, 60)
            await wait_until(lambda: len(busy.seen) == 52, 90)
            assert suspended.seen == []
            text = await (await http.get(server.metrics_url)).text()
            assert await server.stop() == 0
    asked, later = busy.seen[0], busy.seen[1:]
    assert min(seen.at for seen in later) >= asked.done + WAIT
    assert_delivered_in_order(busy, "b", 5)
    assert_delivered_in_order(free, "f", 5)
    assert {seen.attempt for seen in later if not seen.label.startswith("first")} == {1}
    held = [line for line in text.splitlines() if line.startswith("chaski_target_held{")]
    assert next(line for line in held if 'target="suspended"' in line).endswith(" 1.0")
    assert '"event.action":"hold-started"' in server.log.read_text()


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_a_worker_follows_the_suspension_in_its_route_file(tmp_path: Path, ordering: str) -> None:
    """Suspended from the start, killed, released and suspended again by new contents of the file, in one process."""
    async with (
        running_emulators("embedded", tmp_path) as urls,
        recording_target(lambda *_: (0.0, 200)) as held,
        recording_target(lambda *_: (0.0, 200)) as free,
        aiohttp.ClientSession() as http,
    ):
        cloud = Cloud(*urls, tmp_path)
        rules = [{"name": "held", "url": held.url, "suspend": True}, {"name": "free", "url": free.url}]
        await cloud.make(route("r", held.url, ordering=ordering, retry=RETRY, targets={"allow": rules}))
        suspended = cloud.file.read_text()
        released = suspended.replace("suspend: true", "suspend: false")
        assert released != suspended
        ingest = Service(
            cloud,
            tmp_path / "ingest.log",
            "chaski-ingest",
            "--auth",
            "none",
            "--routes",
            str(cloud.file),
            "--port",
            "0",
        )
        worker = Service(cloud, tmp_path / "worker.log", "chaski-worker", "consume", "--route", str(cloud.file))
        try:
            await asyncio.gather(ingest.start(), worker.start())
            url = str(ingest.ready["chaski.ingest.url"])
            for target, prefix in ((held, "h"), (free, "f")):
                await send_batch(http, url, "t/r", lines(target, prefix, range(5)))
            await wait_until(lambda: len(free.seen) == 50, 60)
            await worker.kill()
            await worker.start()
            await send_batch(http, url, "t/r", lines(free, "f", range(5, 6)))
            await wait_until(lambda: len(free.seen) >= 60, 60)
            assert held.seen == []
            replace_file(cloud.file, released)
            await wait_until(lambda: len(held.seen) == 50, 90)
            replace_file(cloud.file, suspended)
            await wait_until(lambda: worker.log.read_text().count('"hold-started"') == 3, 60)
            await send_batch(http, url, "t/r", lines(held, "h", range(5, 6)))
            await send_batch(http, url, "t/r", lines(free, "f", range(6, 7)))
            await wait_until(lambda: len(free.seen) >= 70, 60)
            assert len(held.seen) == 50
            assert await worker.stop() == 0
            assert len(held.seen) == 50
            assert await cloud.lying() == 10
        finally:
            await asyncio.gather(worker.end(), ingest.end())
            await cloud.close()
    assert_delivered_in_order(held, "h", 5)
    assert {seen.attempt for seen in held.seen} == {1}
    assert_first_in_order(free.seen)


def replace_file(file: Path, text: str) -> None:
    """As the kubelet does it: the new file takes the place of the old one at once."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def assert_first_in_order(seen: list[Seen]) -> None:
    """The kill may have repeated what was delivered; first arrivals of each subject are in order."""
    for subject in range(10):
        arrived = sorted((each for each in seen if each.label.startswith(f"f{subject}-")), key=lambda each: each.at)
        labels = list(dict.fromkeys(each.label for each in arrived))
        assert labels == [f"f{subject}-{number}" for number in range(7)]
