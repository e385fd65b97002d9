"""`chaski ledger` after kills: exact, and it detects missing messages."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from acceptance.cli_process import Finished, chaski, dev, eventually, target, write_route

NONE = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": []}


async def ledger(data: Path) -> Finished:
    """The account of a folder."""
    return await chaski("ledger", "--data", data, "--output", "json")


async def sent(ingest: str, folder: Path, url: str, first: int, count: int) -> None:
    """Sends a file of messages, with retries."""
    file = folder / f"messages-{first}.ndjson"
    lines = [
        f'{{"id": "m{number}", "subject": "s{number % 7}", "body": {{"url": "{url}{number % 2}"}}}}\n'
        for number in range(first, first + count)
    ]
    file.write_text("".join(lines))
    done = await chaski("send", file, "--route", "default/first", "--to", ingest)
    assert done.code == 0, done.err


@pytest.mark.landing
@pytest.mark.timeout(240)
@pytest.mark.promise(2)
async def test_nothing_is_unaccounted_after_kills(tmp_path: Path) -> None:
    """Killed three times while it delivers: at every check each message is delivered, dead-lettered or pending."""
    data = tmp_path / "data"
    async with target() as there:
        route = write_route(tmp_path, there.url, retry=NONE)
        for life in range(3):
            there.status = 200 if life % 2 else 500
            async with dev(route, data) as running:
                await sent(running.ingest, tmp_path, there.url, life * 200, 200)
                await asyncio.sleep(0.2 * life)
                account = await ledger(data)
                assert (account.code, account.json()["unaccounted"]) == (0, 0), account.out
                running.process.kill()
                await running.ended()
            killed = (await ledger(data)).json()
            assert (killed["accepted"], killed["unaccounted"]) == (200 * (life + 1), 0), killed
        async with dev(route, data):

            async def settled() -> bool | None:
                return (await ledger(data)).json()["pending"] == 0 or None

            await eventually(settled, 60.0)
    last = (await ledger(data)).json()
    assert last["delivered"] + last["deadLettered"] == 600
    assert last["deadLettered"] > 0
    assert last["balanced"]


@pytest.mark.promise(2)
async def test_one_id_on_two_subjects_is_two_messages(tmp_path: Path) -> None:
    """One dead-lettered, one delivered: both are accounted for and have separate traces."""
    data = tmp_path / "data"
    async with target() as there, dev(write_route(tmp_path, there.url, retry=NONE), data) as running:
        to = ("--to", running.ingest, "--route", "default/first", "--id", "order-1", "--url", there.url)
        for subject, status in (("a", 500), ("b", 200)):
            there.status = status
            sent_one = await chaski("send", *to, "--subject", subject, "--content", subject)
            assert sent_one.code == 0, sent_one.err
            await there.got(1 + (subject == "b"))

        async def settled() -> dict[str, int] | None:
            found: dict[str, int] = (await ledger(data)).json()
            return found if found["pending"] == 0 else None

        found = await eventually(settled)
        assert {name: found[name] for name in ("accepted", "delivered", "deadLettered", "unaccounted")} == {
            "accepted": 2,
            "delivered": 1,
            "deadLettered": 1,
            "unaccounted": 0,
        }
        traced = (await chaski("trace", "order-1", "--data", data, "--output", "json")).json()["messages"]
        assert [(each["subject"], each["state"], len(each["attempts"])) for each in traced] == [
            ("a", "dead-lettered", 1),
            ("b", "delivered", 1),
        ]
        assert len({each["messageId"] for each in traced}) == 2


@pytest.mark.promise(2)
async def test_a_discarded_message_that_is_not_kept_is_accounted_for(tmp_path: Path) -> None:
    """The route drops what the target answers with 410: no dead letter, the account is balanced, its trace says so."""
    data = tmp_path / "data"
    retry = {**NONE, "outcomes": [{"statuses": ["410"], "result": "Discard", "keep": False}]}
    async with target() as there, dev(write_route(tmp_path, there.url, retry=retry), data) as running:
        there.status = 410
        await sent(running.ingest, tmp_path, there.url, 0, 3)

        async def settled() -> bool | None:
            return (await ledger(data)).json()["discarded"] == 3 or None

        await eventually(settled, 120)
        account = await ledger(data)
        assert (account.code, account.json()["unaccounted"], account.json()["deadLettered"]) == (0, 0, 0)
        (traced,) = (await chaski("trace", "m0", "--data", data, "--output", "json")).json()["messages"]
        assert (traced["state"], [each["outcome"] for each in traced["attempts"]]) == ("discarded", ["discarded"])


async def test_a_removed_message_is_found_missing(tmp_path: Path) -> None:
    """If rows of the file are deleted by hand; a discarded dead letter is noted and accounted for."""
    data = tmp_path / "data"
    async with target() as there, dev(write_route(tmp_path, there.url, retry=NONE), data) as running:
        there.status = 500
        await sent(running.ingest, tmp_path, there.url, 0, 4)

        async def dead() -> bool | None:
            return (await ledger(data)).json()["deadLettered"] == 4 or None

        await eventually(dead)
        discarded = await chaski("dead-letters", "discard", "m0", "--yes", "--data", data)
        assert discarded.code == 0, discarded.err
    account = await ledger(data)
    assert (account.code, account.json()["unaccounted"], account.json()["dropped"]) == (0, 1, 1)
    with contextlib.closing(sqlite3.connect(data / "chaski.db")) as connection:
        connection.execute("DELETE FROM dead_letters WHERE id = 'm1'")
        connection.commit()
    missing = await ledger(data)
    assert (missing.code, missing.json()["unaccounted"]) == (1, 2)


@pytest.mark.parametrize(
    "flags",
    [
        ["--logs", "worker.log"],
        ["--accepted", "ids.txt"],
        ["--accepted", "ids.txt", "--resolved", "r.yaml", "--metrics", "http://127.0.0.1:9/metrics"],
        ["--resolved", "r.yaml"],
    ],
    ids=" ".join,
)
async def test_conflicting_flags_are_refused(flags: list[str]) -> None:
    """No flag is ignored."""
    ended = await chaski("ledger", *flags)
    assert (ended.code, "Traceback" in ended.err) == (2, False)


async def test_a_list_without_ids_is_an_error(tmp_path: Path) -> None:
    """Nothing accepted would always balance."""
    (tmp_path / "ids.txt").write_text("\n")
    ended = await chaski("ledger", "--resolved", tmp_path / "r.yaml", "--accepted", tmp_path / "ids.txt")
    assert (ended.code, "contains no ids" in ended.err) == (1, True)
