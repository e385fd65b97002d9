"""`chaski dead-letters` and `chaski trace` beside a running `chaski dev`."""

import csv
import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from acceptance.cli_process import Dev, chaski, dev, eventually, target, write_route
from chaski_core.timestamps import milliseconds, timestamp

RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "404", "retriesPerRung": 1, "rungs": ["fast"]}],
}


async def send(running: Dev, subject: str, url: str, content: str) -> str:
    """Sends a message; its id."""
    to = ("--to", running.ingest, "--route", "default/first", "--output", "json")
    sent = await chaski("send", *to, "--subject", subject, "--url", url, "--content", content)
    assert sent.code == 0, sent.err
    return str(sent.json()["id"])


async def letters(data: Path, number: int) -> list[dict[str, Any]]:
    """All dead letters, once there are so many."""

    async def look() -> list[dict[str, Any]] | None:
        listed = await chaski("dead-letters", "list", "--data", data, "--output", "json")
        assert listed.code == 0, listed.err
        found: list[dict[str, Any]] = listed.json()
        return found if len(found) >= number else None

    return await eventually(look)


@pytest.mark.promise(13)
async def test_what_failed_is_found_shown_and_exported(tmp_path: Path) -> None:
    """By subject, target, class, text and time, while the process runs and after it has stopped, in every format."""
    data = tmp_path / "data"
    async with target() as there, dev(write_route(tmp_path, there.url, retry=RETRY), data) as running:
        there.status = 404
        first = await send(running, "order-1", there.url, "Jane, the first")
        refused = await send(running, "order-2", "http://127.0.0.1:1/elsewhere", "never dialled")
        found = {letter["id"]: letter for letter in await letters(data, 2)}
        assert found[first]["attempts"] == 2
        assert (found[first]["class"], found[first]["reason"], found[first]["target"]) == ("404", "exhausted", "local")
        assert [error["class"] for error in found[first]["errors"]] == ["404", "404"]
        assert found[first]["envelope"]["body"]["content"] == "Jane, the first"
        assert (found[refused]["class"], found[refused]["reason"]) == ("refused", "refused")
        (traced,) = (await chaski("trace", first, "--data", data, "--output", "json")).json()["messages"]
        assert traced["state"] == "dead-lettered"
        assert [(attempt["number"], attempt["stage"]) for attempt in traced["attempts"]] == [(1, "first"), (2, "retry")]

    async def ids(*arguments: str) -> list[str]:
        exported = await chaski("dead-letters", "export", "--data", data, *arguments)
        assert exported.code == 0, exported.err
        return [orjson.loads(line)["id"] for line in exported.out.splitlines()]

    assert sorted(await ids()) == sorted([first, refused])
    assert await ids("--subject", "order-1") == [first]
    assert await ids("--target", "local") == [first]
    assert await ids("--class", "4xx") == [first]
    assert await ids("--class", "refused") == [refused]
    assert await ids("--text", "jane") == [first]
    assert await ids("--since", "1h", "--class", "404") == [first]
    assert await ids("--until", "1h") == []
    exported = await chaski("dead-letters", "export", "--data", data, "--output", "csv", "--class", "404")
    (row,) = csv.DictReader(io.StringIO(exported.out))
    assert (row["id"], row["subject"], row["attempts"]) == (first, "order-1", "2")
    shown = await chaski("dead-letters", "show", first, "--data", data)
    assert "said the target" in shown.out
    assert "Jane, the first" in shown.out
    listed = await chaski("dead-letters", "list", "--data", data, "--limit", "1")
    assert "exhausted" in listed.out or "refused" in listed.out
    assert "--limit" in listed.err


@pytest.mark.promise(13)
async def test_what_was_given_up_a_moment_ago_is_found_by_that_moment(tmp_path: Path) -> None:
    """However long its message waited before: here six seconds on a rung."""
    data = tmp_path / "data"
    retry = {
        "rungs": [{"name": "half", "delaySeconds": 6}],
        "ladders": [{"class": "404", "retriesPerRung": 1, "rungs": ["half"]}],
    }
    async with target() as there, dev(write_route(tmp_path, there.url, retry=retry), data) as running:
        there.status = 404
        await send(running, "order-1", there.url, "Jane")
        (found,) = await letters(data, 1)
        errors = [milliseconds(error["at"]) for error in found["errors"]]
        given_up = milliseconds(found["deadLetteredAt"])
        assert None not in (given_up, *errors)
        assert 0 <= given_up - errors[-1] < 3_000
        assert given_up - errors[0] >= 6_000
        recent = timestamp(given_up - 2_000)
        listed = await chaski("dead-letters", "list", "--since", recent, "--data", data, "--output", "json")
        assert len(listed.json()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        pytest.param(("dead-letters", "list"), 2, "no folder", id="no folder"),
        pytest.param(("dead-letters", "show", "x"), 2, "no folder", id="show without a folder"),
        pytest.param(("trace", "x"), 2, "no folder", id="trace without a folder"),
    ],
)
async def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, arguments: tuple[str, ...], code: int, named: str
) -> None:
    """The next step is to name the folder of `chaski dev`; nothing is made by reading."""
    ended = await chaski(*arguments, cwd=tmp_path)
    assert ended.code == code
    assert named in ended.err
    assert "--data" in ended.err
    assert not (tmp_path / ".chaski").exists()


async def test_what_is_not_known_is_not_found(tmp_path: Path) -> None:
    """An id that nobody sent, a time that is none, a folder that holds something else."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data"):
        data = ("--data", tmp_path / "data")
        for command in (("trace",), ("dead-letters", "show")):
            ended = await chaski(*command, "nobody", *data)
            assert ended.code == 1
            assert "nobody" in ended.err
        assert (await chaski("dead-letters", "list", *data)).out == "no dead letter matches\n"
        wrong = await chaski("dead-letters", "list", "--since", "yesterday", *data)
        assert wrong.code == 2
        assert "--since" in wrong.err
    other = await chaski("trace", "x", "--data", tmp_path)
    assert other.code == 1
    assert "Traceback" not in other.err
