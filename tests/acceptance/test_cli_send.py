"""`chaski send` against a running `chaski dev`."""

import asyncio
import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from acceptance.cli_process import chaski, dev, eventually, started, status_of, target, write_route

ROUTE = ("--route", "default/first")


async def test_one_message_from_flags_is_delivered_and_traced(tmp_path: Path) -> None:
    """`trace` finds the id that `send` prints."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        to = ("--to", running.ingest, *ROUTE, "--output", "json")
        sent = await chaski("send", *to, "--subject", "order 1", "--url", there.url, "--json", '{"a": 1}')
        assert sent.code == 0, sent.err
        answer = sent.json()
        assert {key: answer[key] for key in ("subject", "queue", "partition")} == {
            "subject": "order 1",
            "queue": "messages",
            "partition": 0,
        }
        assert await there.got(1) == ['{"a":1}']

        async def delivered() -> dict[str, Any] | None:
            traced = await chaski("trace", answer["id"], "--data", tmp_path / "data", "--output", "json")
            assert traced.code == 0, traced.err
            found: dict[str, Any] = traced.json()["messages"][0]
            return found if found["state"] == "delivered" else None

        trace = await eventually(delivered)
        assert trace["subject"] == "order 1"
        (attempt,) = trace["attempts"]
        assert {key: attempt[key] for key in ("number", "stage", "outcome", "status")} == {
            "number": 1,
            "stage": "first",
            "outcome": "delivered",
            "status": 200,
        }
        shown = await chaski("trace", answer["id"], "--data", tmp_path / "data")
        assert "delivered" in shown.out


async def test_an_id_that_is_sent_twice_is_one_message(tmp_path: Path) -> None:
    """The second response is the same, and the message is delivered once."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        to = ("--to", running.ingest, *ROUTE, "--subject", "s", "--url", there.url)
        for _ in range(2):
            assert (await chaski("send", *to, "--id", "only-one", "--content", "once")).code == 0
        assert (await chaski("send", *to, "--content", "then")).code == 0
        assert await there.got(2) == ["once", "then"]


@pytest.mark.parametrize("source", ["a file", "standard input"])
async def test_lines_are_sent_in_order_and_rejected_ones_are_named(tmp_path: Path, source: str) -> None:
    """Valid lines are delivered in order, invalid ones are reported with their number and written to a file."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        lines = [
            orjson.dumps({"subject": "s", "body": {"url": there.url, "content": f"step {number}"}})
            for number in range(1, 8)
        ]
        lines[2] = b'{"subject": "s", "body": {}}'
        lines[4] = b"not JSON"
        text = b"\n".join(lines) + b"\n\n"
        (tmp_path / "messages.ndjson").write_bytes(text)
        name = tmp_path / "messages.ndjson" if source == "a file" else "-"
        rejected = tmp_path / "rejected.ndjson"
        to = ("--to", running.ingest, *ROUTE, "--skip-unreadable", "--rejected", rejected, "--output", "json")
        sent = await chaski("send", *to, name, stdin=text)
        assert sent.code == 1
        assert sent.json()["complete"]
        assert sent.json()["accepted"] == 5
        assert [failure["line"] for failure in sent.json()["failures"]] == [3, 5]
        assert "body.url" in sent.json()["failures"][0]["reason"]
        assert len(rejected.read_bytes().splitlines()) == 2
        assert await there.got(5) == [f"step {number}" for number in (1, 2, 4, 6, 7)]


def line(url: str, content: str, subject: str = "s") -> bytes:
    """One message."""
    return orjson.dumps({"subject": subject, "body": {"url": url, "content": content}}) + b"\n"


@pytest.mark.promise(3)
async def test_a_byte_order_mark_does_not_cost_the_first_line(tmp_path: Path) -> None:
    """As written by editors on Windows; line 2 never precedes line 1."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        text = b"\xef\xbb\xbf" + line(there.url, "0") + line(there.url, "1")
        (tmp_path / "messages.ndjson").write_bytes(text)
        sent = await chaski("send", "--to", running.ingest, *ROUTE, tmp_path / "messages.ndjson")
        assert sent.code == 0, sent.err
        assert await there.got(2) == ["0", "1"]


@pytest.mark.promise(3)
async def test_nothing_of_a_file_is_sent_if_a_line_cannot_be_read(tmp_path: Path) -> None:
    """Unreadable lines are named with their number; on request the others are sent."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        path = tmp_path / "messages.ndjson"
        path.write_bytes(line(there.url, "0") + b'{"subject": "s", "bo\n' + line(there.url, "2") + b'{"body": {}}\n')
        command = ("send", "--to", running.ingest, *ROUTE, path)
        refused = await chaski(*command)
        assert refused.code == 2
        assert "2 lines can't be read; nothing was sent" in refused.err
        assert "line 2: not JSON" in refused.err
        assert "line 4: subject: missing" in refused.err
        assert "--skip-unreadable" in refused.err
        others = await chaski(*command, "--skip-unreadable")
        assert others.code == 1
        assert "accepted 2 of 4 lines" in others.out
        assert await there.got(2) == ["0", "2"]


@pytest.mark.promise(3)
async def test_a_pipe_ends_at_a_line_that_cannot_be_read(tmp_path: Path) -> None:
    """It can't be checked first; later lines are not sent, and the flags to resume are printed."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        text = line(there.url, "0") + line(there.url, "1") + b"?\n" + line(there.url, "3")
        sent = await chaski("send", "--to", running.ingest, *ROUTE, "-", stdin=text)
        assert sent.code == 1
        assert "line 3: 400 not JSON" in sent.err
        assert "accepted 2; resume with the same command and --run send-" in sent.err
        flags = shlex.split(sent.err.split("the same command and ")[1].splitlines()[0])
        assert flags[2:] == ["--from-line", "3"]
        corrected = text.replace(b"?\n", line(there.url, "2"))
        sent = await chaski("send", "--to", running.ingest, *ROUTE, *flags, "-", stdin=corrected)
        assert sent.code == 0, sent.err
        assert await there.got(4) == ["0", "1", "2", "3"]


async def test_lines_of_a_live_pipe_are_sent_as_they_arrive(tmp_path: Path) -> None:
    """Five lines without an end of the pipe are delivered within two seconds; so are lines read before a stop."""
    async with (
        target() as there,
        dev(write_route(tmp_path, there.url), tmp_path / "data") as running,
        started("send", "--to", running.ingest, *ROUTE, "-") as sending,
    ):
        assert sending.stdin is not None
        assert sending.stderr is not None
        sending.stdin.write(line(there.url, "warm"))
        await there.got(1)  # the interpreter has started
        sending.stdin.write(b"".join(line(there.url, str(number)) for number in range(5)))
        async with asyncio.timeout(2):
            assert await there.got(6) == ["warm", *"01234"]
        assert sending.returncode is None
        sending.stdin.write(line(there.url, "last") + b'{"half": ')
        await asyncio.sleep(0.1)  # shorter than the time for which a line waits for others
        sending.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(sending.wait(), 20) == 130
        assert "stopped: accepted 7; resume" in (await sending.stderr.read()).decode()
        assert await there.got(7) == ["warm", *"01234", "last"]


@pytest.mark.promise(13)
async def test_a_stopped_file_is_resumed_without_a_repeat(tmp_path: Path) -> None:
    """After Ctrl-C the number of accepted lines and the flags for exactly the rest are printed."""
    route = write_route(tmp_path, "http://127.0.0.1:9/", suspend={"delivery": True})
    path = tmp_path / "messages.ndjson"
    path.write_bytes(b"".join(line("http://127.0.0.1:9/", str(n), f"s{n % 7}") for n in range(10_000)))

    async def accepted() -> int:
        counts = await chaski("ledger", "--data", tmp_path / "data", "--output", "json")
        return int(counts.json()["accepted"])

    async with dev(route, tmp_path / "data") as running:
        command = ("send", "--to", running.ingest, *ROUTE, path)

        async def begun() -> bool | None:
            return ("chaski_messages_accepted_total{" in (await status_of(running.metrics))[1]) or None

        async with started(*command) as sending:
            await eventually(begun)
            sending.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(sending.communicate(), 20)
        assert sending.returncode == 130
        number = int(re.search(rb"stopped: accepted (\d+);", err)[1])  # type: ignore[index]  # a miss fails as well
        assert 0 < number < 10_000
        assert f"accepted {number} of {number} lines" in out.decode()
        assert await accepted() == number
        flags = shlex.split(err.decode().split("the same command and ")[1].splitlines()[0])
        assert flags[2:] == ["--from-line", str(number + 1)]
        rest = await chaski(*command, *flags)
        assert rest.code == 0, rest.err
        assert f"accepted {10_000 - number} of {10_000 - number} lines" in rest.out
        assert await accepted() == 10_000


async def test_many_lines_of_many_subjects_arrive(tmp_path: Path) -> None:
    """More lines than fit into one request: all accepted, and each subject in order."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        lines = [
            orjson.dumps({"subject": f"s{number % 7}", "body": {"url": there.url, "content": f"{number % 7} {number}"}})
            for number in range(1_200)
        ]
        sent = await chaski("send", "--to", running.ingest, *ROUTE, "-", stdin=b"\n".join(lines))
        assert sent.code == 0, sent.err
        assert "accepted 1200 of 1200 lines" in sent.out
        bodies = await there.got(1_200)
    for subject in range(7):
        numbers = [int(body.split()[1]) for body in bodies if body.startswith(f"{subject} ")]
        assert numbers == list(range(subject, 1_200, 7))


async def test_an_unavailable_ingest_is_retried_for_a_limited_time(tmp_path: Path) -> None:
    """The command retries, then fails and names the next step."""
    started = time.monotonic()
    to = ("--to", "http://127.0.0.1:1", *ROUTE, "--retry-for", "1")
    one = await chaski("send", *to, "--subject", "s", "--url", "http://127.0.0.1:9/")
    assert one.code == 1
    assert "readyz" in one.err
    (tmp_path / "messages.ndjson").write_text('{"subject":"s","body":{"url":"http://127.0.0.1:9/"}}\n' * 3)
    many = await chaski("send", *to, "--output", "json", tmp_path / "messages.ndjson")
    assert many.code == 1
    assert many.json()["rejected"] == 3
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(
            ("--route", "first", "--subject", "s", "--url", "x"), "NAMESPACE/NAME", id="a route without namespace"
        ),
        pytest.param((*ROUTE, "--url", "x"), "--subject", id="no subject"),
        pytest.param((*ROUTE, "--subject", "s", "--url", "x", "--json", "{"), "--json", id="broken JSON"),
        pytest.param((*ROUTE, "missing.ndjson"), "missing.ndjson", id="no such file"),
        pytest.param((*ROUTE, "--subject", "s", "-"), "exclude", id="a file and flags"),
    ],
)
async def test_wrong_input_has_exit_code_two(arguments: tuple[str, ...], named: str) -> None:
    """The error names the cause, without a traceback."""
    ended = await chaski("send", *arguments)
    assert ended.code == 2
    assert named in ended.err
    assert "Traceback" not in ended.err


async def test_rejections_of_ingest_are_reported_by_field(tmp_path: Path) -> None:
    """An invalid message and an unknown route have exit code 2."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        to = ("--to", running.ingest, "--subject", "s", "--url", there.url)
        wrong = await chaski("send", *to, *ROUTE, "--id", "no spaces allowed")
        assert wrong.code == 2
        assert "id" in wrong.err
        missing = await chaski("send", *to, "--route", "default/other")
        assert missing.code == 2
        assert "--route" in missing.err
