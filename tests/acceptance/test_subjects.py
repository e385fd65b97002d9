"""`chaski subjects` beside real processes: `chaski dev`, and ingest and worker on the SQS protocol and DynamoDB."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from acceptance.cli_process import chaski
from chaski_core.timestamps import milliseconds
from support.aws.emulators import running_emulators
from support.processes.dev import RecordingTarget, dev_server, recording_target, route, send_batch
from support.processes.services import Cloud, cluster
from support.until import until

pytestmark = pytest.mark.landing

BACKENDS = pytest.mark.parametrize("backend", ["dev", "aws"])
RETRY = {
    "rungs": [{"name": "late", "delaySeconds": 1800}],
    "ladders": [{"class": "any", "retriesPerRung": 2, "rungs": ["late"]}],
}


@dataclass
class Running:
    """Ingest and workers of one route, and the command on their records."""

    url: str
    flags: tuple[str, ...]
    environment: dict[str, str]
    http: aiohttp.ClientSession
    restart: Callable[[], Awaitable[None]]  # kills the worker and starts it again

    async def run(self, *arguments: str, code: int = 0) -> Any:
        """`chaski subjects`, with JSON output."""
        done = await chaski("subjects", *arguments, *self.flags, "--output", "json", environment=self.environment)
        assert done.code == code, done.err
        return done.json() if code == 0 else done.err

    async def subjects(self) -> list[dict[str, Any]]:
        """What `list` shows."""
        found: list[dict[str, Any]] = (await self.run("list"))["subjects"]
        return found

    async def dead_letters(self) -> list[dict[str, Any]]:
        """What `chaski dead-letters list` shows."""
        listed = await chaski(
            "dead-letters", "list", "--oldest-first", *self.flags, "--output", "json", environment=self.environment
        )
        assert listed.code == 0, listed.err
        found: list[dict[str, Any]] = listed.json()
        return found

    async def send(self, target: RecordingTarget, subject: str, number_of: int) -> list[str]:
        """Sends messages `<subject>-<number>`; returns their identities."""
        lines = [
            {"id": f"{subject}-{number}", "subject": subject, "body": {"url": target.url}}
            for number in range(number_of)
        ]
        return [str(each["messageId"]) for each in await send_batch(self.http, self.url, "t/r", lines)]


@contextlib.asynccontextmanager
async def running(backend: str, folder: Path, document: dict[str, Any]) -> AsyncIterator[Running]:
    """The processes of a route."""
    async with aiohttp.ClientSession() as http:
        if backend == "dev":
            async with dev_server(folder, document) as server:

                async def restart_dev() -> None:
                    await server.kill()
                    await server.start()

                yield Running(server.url, ("--data", str(server.data)), dict(os.environ), http, restart_dev)
            return
        async with running_emulators("embedded", folder) as urls:
            cloud = Cloud(*urls, folder)
            await cloud.make(document)
            async with cluster(cloud, folder, worker="consume") as made:

                async def restart_worker() -> None:
                    await made.workers["worker"].kill()
                    await made.workers["worker"].start()

                environment = dict(os.environ) | cloud.environment
                yield Running(made.url, ("--resolved", str(cloud.file)), environment, http, restart_worker)


@BACKENDS
@pytest.mark.promise(3)
@pytest.mark.promise(13)
async def test_a_stuck_subject_is_listed_retried_and_skipped(tmp_path: Path, backend: str) -> None:
    """With due time and last error; `retry-now` 30 minutes early, also after a kill; `skip`, and the next message goes on."""
    async with recording_target(lambda _p, label, _a: (0.0, 503 if label == "s-0" else 200)) as target:
        document = route("r", target.url, ordering="Strict", retry=RETRY)
        async with running(backend, tmp_path, document) as made:
            head, following = await made.send(target, "s", 2)
            await made.send(target, "free", 1)
            await until(lambda: len(target.seen) == 2)

            async def listed() -> bool:
                return bool(await made.subjects())

            await until(listed)
            (stuck,) = await made.subjects()
            assert (stuck["subject"], stuck["messageId"], stuck["attempts"]) == ("s", head, 1)
            assert (stuck["rung"], stuck["held"], stuck["decision"]) == ("late", None, None)
            assert stuck["lastError"]["class"] == "503"
            failed_at, due = milliseconds(stuck["lastError"]["at"]), milliseconds(stuck["due"])
            assert failed_at is not None
            assert due is not None
            assert 1_800_000 <= due - failed_at <= 2_160_100

            assert (await made.run("retry-now", "s"))["visible"] is True
            await until(lambda: len(target.by_message()["s-0"]) == 2)
            assert "no attempt of a message" in await made.run("retry-now", "unknown", code=2)
            assert "is not held" in await made.run("release", "s", code=2)

            await made.restart()

            async def listed_again() -> bool:
                return [each["attempts"] for each in await made.subjects()] == [2]

            await until(listed_again)
            assert (await made.run("skip", "s"))["messageId"] == head
            await until(lambda: len(target.by_message()["s-1"]) == 1)

            async def nothing_waits() -> bool:
                return await made.subjects() == []

            await until(nothing_waits)
            (dead_letter,) = await made.dead_letters()
            if backend == "dev":
                (traced,) = (await chaski("trace", head, *made.flags, "--output", "json")).json()["messages"]
                assert (traced["state"], len(traced["attempts"])) == ("dead-lettered", 2)
                assert (await chaski("ledger", *made.flags)).code == 0
    assert (dead_letter["messageId"], dead_letter["reason"], dead_letter["attempts"]) == (head, "skipped", 2)
    assert [error["class"] for error in dead_letter["errors"]] == ["503", "503"]
    assert dead_letter["envelope"]["body"]["url"] == target.url
    assert [seen.attempt for seen in target.by_message()["s-0"]] == [1, 2]
    assert [seen.identity for seen in target.by_message()["s-1"]] == [following]


@BACKENDS
@pytest.mark.promise(3)
async def test_a_held_subject_waits_and_goes_on_when_it_is_released(tmp_path: Path, backend: str) -> None:
    """Before its first message; another subject goes on; all of its messages follow in order, at their first attempt."""
    async with (
        recording_target(lambda *_: (0.0, 200)) as target,
        running(backend, tmp_path, route("r", target.url)) as made,
    ):
        await made.run("hold", "s")
        await made.send(target, "s", 5)
        await made.send(target, "free", 5)
        await until(lambda: len(target.seen) >= 5)
        (held,) = await made.subjects()
        assert (held["subject"], held["held"], held["messageId"], held["due"]) == ("s", "person", None, None)
        assert {seen.label.partition("-")[0] for seen in target.seen} == {"free"}
        assert "--message is missing" in await made.run("skip", "s", code=2)
        await made.run("release", "s")
        await until(lambda: len(target.seen) == 10)
        await asyncio.sleep(0.5)
        assert await made.subjects() == []
    later = sorted((seen for seen in target.seen if seen.label.startswith("s-")), key=lambda seen: seen.at)
    assert [(seen.label, seen.attempt) for seen in later] == [(f"s-{number}", 1) for number in range(5)]


async def test_a_subject_is_held_where_its_ladder_has_ended(tmp_path: Path) -> None:
    """`onExhausted: Hold` over a restart of `chaski dev`: listed as held, one more attempt on demand, then the next message."""
    failing = True
    retry = {"rungs": [], "ladders": [{"class": "5xx", "retriesPerRung": 0, "rungs": []}], "onExhausted": "Hold"}
    async with recording_target(lambda _p, label, _a: (0.0, 503 if failing and label == "s-0" else 200)) as target:
        document = route("r", target.url, ordering="Strict", retry=retry)
        async with running("dev", tmp_path, document) as made:
            (head, _) = await made.send(target, "s", 2)
            # Before the kill: another thread writes the log.
            await until(lambda: '"event.action":"subject-held"' in (tmp_path / "dev.log").read_text())
            assert len(target.seen) == 1
            await made.restart()
            (held,) = await made.subjects()
            assert (held["messageId"], held["held"], held["due"], held["rung"]) == (head, "exhausted", None, None)
            assert "retry-now, or skip" in await made.run("release", "s", code=2)
            failing = False
            await made.run("retry-now", "s")
            await until(lambda: len(target.seen) == 3)
            assert await made.dead_letters() == []
    log = (tmp_path / "dev.log").read_text()
    assert '"chaski.next":"held: no retry is left"' in log
    assert "dead letter" not in log
    assert '"event.action":"subject-held"' in log
    assert [seen.label for seen in sorted(target.seen, key=lambda seen: seen.at)] == ["s-0", "s-0", "s-1"]
