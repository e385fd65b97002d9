"""`chaski dead-letters` and `chaski trace` beside a running `chaski dev`."""

import csv
import io
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from acceptance.cli_process import Dev, chaski, dev, eventually, target, write_route
from chaski_core.timestamps import milliseconds, timestamp

pytestmark = pytest.mark.landing

RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "404", "retriesPerRung": 1, "rungs": ["fast"]}],
}


async def send(running: Dev, subject: str, url: str, content: str) -> str:
    """Sends a message; returns its id."""
    to = ("--to", running.ingest, "--route", "default/first", "--output", "json")
    sent = await chaski("send", *to, "--subject", subject, "--url", url, "--content", content)
    assert sent.code == 0, sent.err
    return str(sent.json()["id"])


async def stored_dead_letters(data: Path, number: int) -> list[dict[str, Any]]:
    """All dead letters, once there are `number`."""

    async def poll() -> list[dict[str, Any]] | None:
        listed = await chaski("dead-letters", "list", "--data", data, "--output", "json")
        assert listed.code == 0, listed.err
        found: list[dict[str, Any]] = listed.json()
        return found if len(found) >= number else None

    return await eventually(poll)


@pytest.mark.promise(13)
async def test_dead_letters_are_found_shown_and_exported(tmp_path: Path) -> None:
    """By subject, target, class, text and time, while the process runs and after it stopped, in every format."""
    data = tmp_path / "data"
    async with target() as there, dev(write_route(tmp_path, there.url, retry=RETRY), data) as running:
        there.status = 404
        first = await send(running, "order-1", there.url, "Jane, the first")
        refused = await send(running, "order-2", "http://127.0.0.1:1/elsewhere", "never dialled")
        found = {letter["id"]: letter for letter in await stored_dead_letters(data, 2)}
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
    newest = max(found.values(), key=lambda each: each["deadLetteredAt"])
    assert newest["messageId"] in listed.out
    assert "these are the newest" in listed.err
    oldest = await chaski(
        "dead-letters",
        "list",
        "--oldest-first",
        "-o",
        "wide",
        "--limit",
        "1",
        cwd=tmp_path,
        environment=os.environ | {"CHASKI_DATA": "data"},
    )
    assert newest["messageId"] not in oldest.out
    assert "default/first" in oldest.out
    assert max(map(len, listed.out.splitlines())) <= 80


@pytest.mark.promise(13)
async def test_dead_letters_are_found_by_the_time_of_dead_lettering(tmp_path: Path) -> None:
    """Not by that of acceptance, here six seconds earlier."""
    data = tmp_path / "data"
    retry = {
        "rungs": [{"name": "half", "delaySeconds": 6}],
        "ladders": [{"class": "404", "retriesPerRung": 1, "rungs": ["half"]}],
    }
    async with target() as there, dev(write_route(tmp_path, there.url, retry=retry), data) as running:
        there.status = 404
        await send(running, "order-1", there.url, "Jane")
        (found,) = await stored_dead_letters(data, 1)
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
        pytest.param(("dead-letters", "list"), 2, "not found", id="no folder"),
        pytest.param(("dead-letters", "show", "x"), 2, "not found", id="show without a folder"),
        pytest.param(("trace", "x"), 2, "not found", id="trace without a folder"),
    ],
)
async def test_a_missing_folder_is_named(tmp_path: Path, arguments: tuple[str, ...], code: int, named: str) -> None:
    """The next step names --data; reading creates nothing."""
    ended = await chaski(*arguments, cwd=tmp_path)
    assert ended.code == code
    assert named in ended.err
    assert "--data" in ended.err
    assert not (tmp_path / ".chaski").exists()


async def test_unknown_ids_invalid_times_and_foreign_folders_are_errors(tmp_path: Path) -> None:
    """Exit codes 1 and 2, without a traceback."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data"):
        data = ("--data", tmp_path / "data")
        for command in (("trace",), ("dead-letters", "show")):
            ended = await chaski(*command, "unknown-id", *data)
            assert ended.code == 1
            assert "unknown-id" in ended.err
        assert (await chaski("dead-letters", "list", *data)).out == "no dead letters match\n"
        wrong = await chaski("dead-letters", "list", "--since", "yesterday", *data)
        assert wrong.code == 2
        assert "--since" in wrong.err
    other = await chaski("trace", "x", "--data", tmp_path)
    assert other.code == 1
    assert "Traceback" not in other.err
