"""`chaski dead-letters replay` and `discard`: with a running `chaski dev`, without one, and with AWS's protocols."""

import asyncio
import random
import shlex
from asyncio.subprocess import DEVNULL, PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from acceptance.cli_process import CHASKI, chaski, dev, eventually, target, write_route
from acceptance.test_cli_dead_letters import send, stored_dead_letters
from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.http.endpoints import DYNAMODB, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.message.envelope import Envelope, Metadata, read_envelope, write_envelope
from chaski_core.ports import DeadLetterStore
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.resolved_document import resolved_yaml
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.provision import resolve
from chaski_embedded.storage.reader import open_reader
from chaski_runtime.process.clock import SystemClock
from support.aws.adapters import FixedCredentials
from support.aws.dynamodb_local import DynamoDbLocal
from support.aws.embedded_sqs import ServerProcess
from support.dead_letters.builder import a_dead_letter
from support.dead_letters.replays import queued
from support.dead_letters.table import fill
from support.operator.provisioning import boto, provision

pytestmark = pytest.mark.landing

PATIENCE_SECONDS = 100.0
SIDE_BY_SIDE = 100
SUBJECTS = 100


def the_route() -> Route:
    """Four partitions, one allowed host."""
    return load_route(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": "r", "namespace": "ns"},
            "spec": {
                "queues": [{"name": "messages", "partitions": 4}],
                "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            },
        }
    )


def made(count: int, now_ms: int) -> list[DeadLetter]:
    """Dead letters of 100 subjects, dead-lettered in another order than accepted; every third is a 404, the others 500."""
    turns = list(range(count))
    random.Random(11).shuffle(turns)
    found = []
    for given_up, number in enumerate(turns):
        subject = f"s{number % SUBJECTS:03}"
        document = {"subject": subject, "body": {"url": "https://t.example/in", "content": number}}
        accepted = now_ms - 7_200_000 + number
        envelope = read_envelope(write_envelope(document, Metadata(f"m{number:06}", "ns/r", accepted)))
        assert isinstance(envelope, Envelope)
        found.append(
            a_dead_letter(
                f"m{number:06}",
                subject=subject,
                dead_lettered_at=now_ms - 3_000_000 + given_up * 50,
                error_class="404" if number % 3 == 0 else "500",
                url="https://t.example/in",
                envelope=envelope.document,
            )
        )
    return found


async def put(store: DeadLetterStore, found: list[DeadLetter]) -> None:
    """Stores dead letters concurrently."""
    for start in range(0, len(found), SIDE_BY_SIDE):
        await asyncio.gather(*(store.put(letter) for letter in found[start : start + SIDE_BY_SIDE]))


def on_queues(folder: Path) -> dict[str, list[str]]:
    """Ids on the queues by subject, in queue order, read from the broker's file."""
    found: dict[str, list[str]] = defaultdict(list)
    for envelope, metadata in queued(folder):
        assert metadata.epoch == 1
        found[envelope.subject].append(str(metadata.id))
    return dict(found)


@dataclass(frozen=True)
class ReplaySetup:
    """Dead letters, and the folder of the queues that a replay sends to."""

    flags: tuple[str, ...]
    find: Callable[[DeadLetterFilter], Iterator[DeadLetter] | AsyncIterator[DeadLetter]]
    queues: Path


async def all_of(found: Iterator[DeadLetter] | AsyncIterator[DeadLetter]) -> list[str]:
    """The ids."""
    if isinstance(found, Iterator):
        return [letter.id for letter in found]
    return [letter.id async for letter in found]


async def ran(*words: str) -> dict[str, Any]:
    """Runs a command to its end; returns its JSON."""
    process = await asyncio.create_subprocess_exec(
        CHASKI, *words, "--output", "json", stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    report: dict[str, Any] = orjson.loads(out)
    return report


async def killed_and_resumed(setup: ReplaySetup, count: int, rate: int) -> tuple[int, int]:
    """Kills a replay of all `500` half-way and resumes it; returns how many were sent before the kill, and in all."""
    wanted = ("--class", "5xx", *setup.flags)
    planned = await ran("dead-letters", "replay", "--dry-run", *wanted)
    expected = defaultdict(list)
    for number in range(count):
        if number % 3:
            expected[f"s{number % SUBJECTS:03}"].append(f"m{number:06}")
    ready = sum(map(len, expected.values()))
    assert (planned["found"], planned["ready"], planned["sent"]) == (ready, ready, 0)
    assert on_queues(setup.queues) == {}

    process = await asyncio.create_subprocess_exec(
        CHASKI,
        "dead-letters",
        "replay",
        *wanted,
        "--yes",
        "--rate",
        str(rate),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    assert process.stderr is not None
    try:
        hint = (await asyncio.wait_for(process.stderr.readline(), PATIENCE_SECONDS)).decode()

        async def half() -> bool | None:
            return sum(map(len, on_queues(setup.queues).values())) >= ready // 2 or None

        await eventually(half, PATIENCE_SECONDS)
    finally:
        process.kill()
        await process.communicate()
    before = sum(map(len, on_queues(setup.queues).values()))
    assert ready // 2 <= before < ready

    words = shlex.split(hint.partition(": chaski ")[2])
    words = words[: words.index("--rate")] + words[words.index("--rate") + 2 :]
    report = await ran(*words)
    assert report["complete"]
    assert report["found"] == ready
    assert report["ready"] + report["skipped"]["sentByThisRun"] == ready
    assert on_queues(setup.queues) == dict(expected)
    marked = await all_of(setup.find(DeadLetterFilter(replayed=True)))
    assert sorted(marked) == sorted(each for ids in expected.values() for each in ids)
    last = await ran("dead-letters", "replay", "--dry-run", *wanted)
    assert (last["ready"], last["skipped"]) == (0, {"replayedBefore": ready})
    return before, ready


@pytest.mark.landing
@pytest.mark.timeout(400)
async def test_a_killed_replay_is_resumed_in_order(tmp_path: Path, report: Callable[[str], None]) -> None:
    """10,000 dead letters of 100 subjects in a data folder: exactly the filtered set, each once, in order."""
    data = tmp_path / "data"
    broker = await EmbeddedBroker.open(data, SystemClock())
    await resolve(broker, the_route())
    await put(EmbeddedBackend(broker).dead_letters, made(10_000, SystemClock().now_ms()))
    await broker.close()
    with open_reader(data) as reader:
        before, ready = await killed_and_resumed(ReplaySetup(("--data", str(data)), reader.find, data), 10_000, 400)
    report(f"10000 dead letters, {ready} chosen, killed after {before} were sent, resumed: all once, order kept")


@pytest.mark.landing
@pytest.mark.timeout(400)
async def test_a_killed_replay_on_aws_is_resumed_in_order(
    tmp_path: Path, report: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 dead letters in DynamoDB Local, and queues with the protocol of SQS."""
    queues = await asyncio.to_thread(ServerProcess, tmp_path / "queues")
    tables = await asyncio.to_thread(DynamoDbLocal)
    transport = AwsTransport(Endpoint(DYNAMODB, tables.url, "us-east-1"), FixedCredentials())
    try:
        resolved = (await asyncio.to_thread(provision, boto(queues.url, tables.url), the_route())).resolved
        file = tmp_path / "resolved.yaml"
        file.write_text(resolved_yaml([resolved]))
        for name, value in {
            "AWS_ENDPOINT_URL_SQS": queues.url,
            "AWS_ENDPOINT_URL_DYNAMODB": tables.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }.items():
            monkeypatch.setenv(name, value)
        store = DynamoDeadLetters(transport, str(resolved.dead_letter_table), 30, SystemClock())
        await fill(transport, str(resolved.dead_letter_table), made(10_000, SystemClock().now_ms()), 30)
        setup = ReplaySetup(("--resolved", str(file)), store.find, tmp_path / "queues")
        before, ready = await killed_and_resumed(setup, 10_000, 400)
        report(f"10000 dead letters, {ready} chosen, killed after {before} were sent, resumed: all once, order kept")
        shown = await chaski("dead-letters", "show", "m000001", "--resolved", file, "--output", "json")
        assert [each["replay"]["epoch"] for each in shown.json()] == [1]
    finally:
        await transport.close()
        tables.stop()
        queues.kill()


async def nothing_is_changed_without_a_filter_and_a_confirmation(data: Path) -> None:
    """By `replay` as by `discard`; and a filter that can't match is an error that names what exists."""
    for command, words, named in (
        ("replay", (), "--all"),
        ("discard", (), "--all"),
        ("replay", ("--all",), "--yes"),
        ("replay", ("--target", "locla", "--yes"), "known targets: local"),
        ("discard", ("--route", "default/frist", "--yes"), "known routes: default/first"),
    ):
        refused = await chaski("dead-letters", command, *words, "--data", data)
        assert (refused.code, refused.out) == (2, ""), (command, words)
        assert named in refused.err


async def test_a_fixed_target_receives_replayed_messages(tmp_path: Path) -> None:
    """With a running `chaski dev`: rejected by the target, replayed after its fix, delivered; then nothing is left to replay."""
    data = tmp_path / "data"
    none = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": []}
    async with target() as there, dev(write_route(tmp_path, there.url, retry=none), data) as running:
        there.status = 500
        ids = [await send(running, "order-1", there.url, f"part {number}") for number in range(3)]
        await stored_dead_letters(data, 3)
        there.bodies.clear()
        there.status = 200
        await nothing_is_changed_without_a_filter_and_a_confirmation(data)
        assert there.bodies == []
        words = ("--route", "default/first", "--class", "5xx", "--yes", "--output", "json")
        replayed = await chaski("dead-letters", "replay", "--data", data, *words)
        assert replayed.code == 0, replayed.err
        assert (replayed.json()["sent"], replayed.json()["skipped"]) == (3, {})
        assert await there.got(3) == ["part 0", "part 1", "part 2"]
        again = await chaski("dead-letters", "replay", "--data", data, "--all", "--yes", "--output", "json")
        assert (again.json()["sent"], again.json()["skipped"]) == (0, {"replayedBefore": 3})

        async def delivered() -> bool | None:
            traced = await chaski("trace", ids[0], "--data", data, "--output", "json")
            states = [each["state"] for each in traced.json()["messages"]]
            return states == ["dead-lettered", "delivered"] or None

        await eventually(delivered)
        listed = await chaski("dead-letters", "list", "--data", data, "--not-replayed", "--output", "json")
        assert listed.json() == []
        kept = await chaski("dead-letters", "discard", "--data", data, "--replayed", "--output", "json")
        assert kept.code == 2
        gone = await chaski("dead-letters", "discard", "--data", data, "--replayed", "--yes", "--output", "json")
        assert gone.json() == {"schemaVersion": 1, "dryRun": False, "found": 3, "discarded": 3}
        assert await stored_dead_letters(data, 0) == []


async def test_a_slow_replay_skips_what_another_sends_in_between(tmp_path: Path) -> None:
    """Two replays of the same five dead letters: each is sent once, and the slow one reports how many the other sent."""
    data = tmp_path / "data"
    none = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": []}
    async with target() as there, dev(write_route(tmp_path, there.url, retry=none), data) as running:
        there.status = 500
        for number in range(5):
            await send(running, "order-1", there.url, f"m{number}")
        await stored_dead_letters(data, 5)
        there.bodies.clear()
        there.status = 200
        words = ("dead-letters", "replay", "--all", "--yes", "--data", str(data))
        slow = asyncio.create_task(ran(*words, "--rate", "0.1"))
        await there.got(1)
        fast = await ran(*words)
        assert (fast["sent"], fast["skipped"]) == (4, {"replayedBefore": 1})
        first = await slow
        assert (first["sent"], first["skipped"], first["complete"]) == (1, {"replayedBefore": 4}, True)
        assert await there.got(5) == [f"m{number}" for number in range(5)]
        counted = (await chaski("ledger", "--data", data, "--output", "json")).json()
        assert (counted["accepted"], counted["unaccounted"]) == (5, 0)


async def test_another_target_must_be_allowed(tmp_path: Path) -> None:
    """With a URL that no rule covers nothing is sent; with an allowed one it receives the messages, by id."""
    data = tmp_path / "data"
    none = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": []}
    async with target() as old, target() as new:
        rules = {"allow": [{"name": "old", "url": old.url}, {"name": "new", "url": new.url}]}
        async with dev(write_route(tmp_path, old.url, retry=none, targets=rules), data) as running:
            old.status = 500
            first = await send(running, "order-1", old.url + "in?a=1", "one")
            await send(running, "order-2", old.url, "two")
            await stored_dead_letters(data, 2)
            to = ("--data", data, "--yes", "--to-url")
            refused = await chaski("dead-letters", "replay", "--all", *to, "https://other.example/")
            assert refused.code == 2
            assert "nothing was sent" in refused.err
            assert new.bodies == []
            moved = await chaski("dead-letters", "replay", first, *to, new.url.rstrip("/"))
            assert moved.code == 0, moved.err
            assert await new.got(1) == ["one"]


async def test_a_replay_into_a_stopped_folder_is_delivered_later(tmp_path: Path) -> None:
    """Without a running `chaski dev` the command opens the folder itself."""
    data = tmp_path / "data"
    none = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": []}
    async with target() as there:
        route = write_route(tmp_path, there.url, retry=none)
        there.status = 500
        async with dev(route, data) as running:
            await send(running, "order-1", there.url, "late")
            await stored_dead_letters(data, 1)
        there.bodies.clear()
        there.status = 200
        replayed = await chaski("dead-letters", "replay", "--all", "--yes", "--data", data)
        assert replayed.code == 0, replayed.err
        assert there.bodies == []
        async with dev(route, data):
            assert await there.got(1) == ["late"]
