"""A message is found by its id, by its subject and by a word in its content: by `chaski trace` and in the log with jq.

`test_console.py` finds one in all three ways in a browser.
"""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import orjson
import pytest

from acceptance.cli_process import Dev, chaski, dev, eventually, target, write_route
from acceptance.test_cli_dead_letters import send, stored_dead_letters
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_runtime.process.clock import SystemClock
from chaski_worker.observability.reporting import AttemptReport, attempt_fields
from support.aws.emulators import running_emulators
from support.dead_letters.builder import a_dead_letter
from support.processes.dev import route
from support.processes.prometheus import documented_queries
from support.processes.services import Cloud
from support.tools import need

pytestmark = pytest.mark.landing

COMMANDS = documented_queries(Path(__file__).parents[2] / "docs" / "logs.md")
CONTENT_COMMAND = "messages with a word in their content ([where it is logged](#contents))"
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]}],
}
PATIENT = {"timeoutSeconds": 300}  # one message waits for its target while a dozen commands run


async def in_log(running: Dev, question: str, **words: str) -> list[dict[str, Any]]:
    """The lines that a documented command finds."""
    command = COMMANDS[question].replace("LOG", str(running.log))
    for word, value in words.items():
        command = command.replace(word, value)
    process = await asyncio.create_subprocess_shell(command, stdin=DEVNULL, stdout=PIPE, executable="/bin/bash")
    out, _ = await process.communicate()
    assert process.returncode == 0, command
    return [orjson.loads(line) for line in out.splitlines()]


async def traced(*flags: object) -> Any:
    """What `chaski trace` says."""
    done = await chaski("trace", *flags, "--output", "json")
    assert done.code == 0, done.err
    return done.json()["messages"]


@pytest.mark.promise(13)
async def test_one_is_found_by_id_subject_and_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered, given up, or waiting; a secret in it is found nowhere in the log."""
    need("jq")
    monkeypatch.setenv("CHASKI_LOG_CONTENT_CHARS", "200")
    data = tmp_path / "data"
    async with target() as there, dev(write_route(tmp_path, there.url, retry=RETRY, delivery=PATIENT), data) as running:
        delivered = await send(running, "order-1", there.url, "about a Llama, password=hunter2")
        await there.got(1)
        there.status = 503
        given_up = await send(running, "order-2", there.url, "about an Alpaca")
        await stored_dead_letters(data, 1)
        there.hang = True
        waiting = await send(running, "order-2", there.url, "about a Vicuña")
        await there.got(4)

        async def lines() -> list[dict[str, Any]] | None:
            found = await in_log(running, "one subject", SUBJECT="order-2")
            return found if len(found) == 2 else None

        assert [line["chaski.id"] for line in await eventually(lines)] == [given_up, given_up]
        by_id = await in_log(running, "one message, attempt by attempt", ID=given_up)
        assert [line["chaski.attempt.number"] for line in by_id] == [1, 2]
        (by_word,) = await in_log(running, CONTENT_COMMAND, WORD="llama")
        assert by_word["chaski.id"] == delivered
        assert "hunter2" not in running.log.read_text()

        (whole,) = await traced(given_up, "--data", data)
        assert (whole["subject"], whole["state"], len(whole["attempts"])) == ("order-2", "dead-lettered", 2)
        by_subject = await traced("--subject", "order-2", "--data", data)
        assert [(each["id"], each["state"]) for each in by_subject] == [
            (waiting, "pending"),
            (given_up, "dead-lettered"),
        ]
        assert by_subject[1] == whole
        assert await traced("--text", "ALPACA", "--data", data) == [whole]
        assert [each["id"] for each in await traced("--text", "vicuña", "--data", data)] == [waiting]
        (by_log,) = await traced("--text", "alpaca", "--logs", running.log)
        # That it is a dead letter is in the store, not in the log.
        assert (by_log["id"], by_log["state"], len(by_log["attempts"])) == (given_up, "pending", 2)
        assert [each["state"] for each in await traced("--text", "llama", "--logs", running.log)] == ["delivered"]
        for flags in (["--subject", "order-2"], ["--text", "about"]):
            shown = await chaski("trace", *flags, "--data", data)
            assert shown.out.count("dead-lettered") == shown.out.count("pending") == 1
        nothing = await chaski("trace", "--text", "llama", "--data", data)
        assert (nothing.code, "delivered messages is not kept" in nothing.err) == (1, True)
        assert (await chaski("trace", "--data", data)).code == 2
        running.process.kill()  # the target would keep it for half a minute
        await running.ended()
        identity = by_word["chaski.message.id"]
        assert await in_log(running, "one message, attempt by attempt", ID=identity) == [by_word]
        assert await traced(whole["messageId"], "--data", data) == [whole]


def line(message_id: str, subject: str, content: str, status: int) -> bytes:
    """A worker's log line."""
    failed = None if status == 200 else ErrorClass.SERVER_ERROR
    outcome = Outcome(failed, status=status, duration_seconds=0.25, target="t")
    attempt = AttemptReport(
        "t",
        "r",
        "messages",
        "first",
        1,
        0,
        message_id,
        message_id,
        subject,
        "POST",
        "https://t.example/",
        outcome,
        content=content,
    )
    return orjson.dumps(attempt_fields(attempt, 1_800_000_000_000)) + b"\n"


@pytest.mark.promise(13)
async def test_the_same_on_the_protocols_of_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the table of dead letters, by the workers' log, and by both: what one has not, the other has."""
    document = {"subject": "order-2", "body": {"url": "https://t.example/", "content": "about an Alpaca"}}
    letter = a_dead_letter(
        "m2",
        route="t/r",
        subject="order-2",
        dead_lettered_at=SystemClock().now_ms(),
        error_class="503",
        url="https://t.example/",
        envelope=document,
    )
    log = tmp_path / "worker.log"
    log.write_bytes(line("m1", "order-1", "about a Llama", 200) + line("m2", "order-2", "", 503) + b"no line at all\n")
    async with running_emulators("embedded", tmp_path) as urls:
        cloud = Cloud(*urls, tmp_path)
        try:
            await cloud.make(route("r", "https://t.example/"))
            await cloud.keep(letter)
            for name, value in cloud.environment.items():
                monkeypatch.setenv(name, value)
            by_both = await traced("--text", "about", "--resolved", cloud.file, "--logs", log)
            assert [(each["id"], each["state"], len(each["attempts"])) for each in by_both] == [
                ("m1", "delivered", 1),  # newest first: the lines are of 2027
                ("m2", "dead-lettered", 1),
            ]
            assert [each["id"] for each in await traced("--subject", "order-2", "--resolved", cloud.file)] == ["m2"]
            assert [each["id"] for each in await traced("--subject", "order-1", "--logs", log)] == ["m1"]
            nothing = await chaski("trace", "--subject", "order-1", "--resolved", cloud.file)
            assert (nothing.code, "--logs FILE" in nothing.err) == (1, True)
        finally:
            await cloud.close()
