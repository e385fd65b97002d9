"""What every store of failures keeps, through the port. DESIGN §5 (dead letters), promise 13."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaski_core.deadletter import DeadLetter, DeadLetterFilter, ReplayMark
from chaski_core.ladder import ErrorNote, Reason
from chaski_core.ports import DeadLetterStore
from contract.conftest import StoreWorld

NOON = 1_800_000_000_000


def letter(message_id: str = "m1", **changes: Any) -> DeadLetter:
    """A dead letter with everything in it."""
    plain = DeadLetter(
        route="helpdesk/conversations",
        id=message_id,
        subject="pc_send_88_519",
        dead_lettered_at=NOON,
        reason=Reason.EXHAUSTED,
        error_class="404",
        target="helpdesk",
        url="https://api.helpdesk.example/hooks/1",
        attempts=2,
        errors=(ErrorNote("404", NOON - 5, "HTTP 404", "no such hook"), ErrorNote("timeout", NOON, "x" * 2_000)),
        envelope={"subject": "pc_send_88_519", "body": {"url": "https://x/", "content": 2**70}, "other": [None, 1.5]},
        detail="",
    )
    return replace(plain, **changes)


async def found(store: DeadLetterStore, **wanted: Any) -> list[str]:
    """Ids of the dead letters that pass, in the order given."""
    return [each.id async for each in store.find(DeadLetterFilter(**wanted))]


async def test_letter_comes_out_as_it_went_in(stores: StoreWorld) -> None:
    """Every field, big integers and long details included."""
    await stores.dead_letters.put(letter())
    assert [each async for each in stores.dead_letters.find(DeadLetterFilter())] == [letter()]
    assert list(await stores.dead_letters.get("m1")) == [letter()]


@pytest.mark.promise(5)
async def test_malformed_bytes_are_kept_raw(stores: StoreWorld) -> None:
    """Bytes that are no text come out byte by byte."""
    malformed = letter(envelope=None, raw=b"\xff\x00garbage", reason=Reason.MALFORMED, detail="not JSON")
    await stores.dead_letters.put(malformed)
    assert list(await stores.dead_letters.get("m1")) == [malformed]
    assert await found(stores.dead_letters, text="GARBAGE") == ["m1"]


@pytest.mark.promise(2)
async def test_repeated_put_leaves_the_first(stores: StoreWorld) -> None:
    """A put that is repeated after a crash hits the same key: success, and nothing changes."""
    await stores.dead_letters.put(letter())
    await stores.dead_letters.put(letter(detail="written again", attempts=9))
    assert list(await stores.dead_letters.get("m1")) == [letter()]


async def test_later_death_of_the_same_message_is_another_letter(stores: StoreWorld) -> None:
    """A replayed message that fails again is kept beside its first failure, oldest first."""
    later = letter(dead_lettered_at=NOON + 1)
    await stores.dead_letters.put(later)
    await stores.dead_letters.put(letter())
    assert list(await stores.dead_letters.get("m1")) == [letter(), later]
    assert list(await stores.dead_letters.get("m2")) == []


FILTERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "everything": ({}, ["a", "b", "c", "d"]),
    "since is inclusive": ({"since": NOON + 2}, ["c", "d"]),
    "until is exclusive": ({"until": NOON + 2}, ["a", "b"]),
    "window": ({"since": NOON + 1, "until": NOON + 3}, ["b", "c"]),
    "empty window": ({"since": NOON + 3, "until": NOON + 1}, []),
    "route": ({"route": "ns/other"}, ["d"]),
    "subject": ({"subject": "s2"}, ["b", "d"]),
    "target": ({"target": "slow"}, ["b", "c"]),
    "status": ({"error_class": "404"}, ["a"]),
    "class takes its statuses": ({"error_class": "4xx"}, ["a", "b"]),
    "class without statuses": ({"error_class": "timeout"}, ["c"]),
    "no attempt was made": ({"error_class": ""}, ["d"]),
    "text in any case": ({"text": "STRASSE"}, ["b"]),
    "text with a target": ({"text": "hello", "target": "slow"}, ["c"]),
    "all at once": (
        {"since": NOON, "until": NOON + 9, "subject": "s2", "target": "slow", "error_class": "4xx", "text": "straße"},
        ["b"],
    ),
    "nothing": ({"subject": "s2", "target": "fast", "error_class": "timeout"}, []),
}


@pytest.mark.promise(13)
@pytest.mark.parametrize(("wanted", "expected"), FILTERS.values(), ids=FILTERS.keys())
async def test_letters_are_found(stores: StoreWorld, wanted: dict[str, Any], expected: list[str]) -> None:
    """By time, route, subject, target, class and content, alone and together, oldest first."""
    letters = [
        letter("d", dead_lettered_at=NOON + 3, subject="s2", target="none", error_class="", route="ns/other"),
        letter("b", dead_lettered_at=NOON + 1, subject="s2", target="slow", error_class="410"),
        letter("a", dead_lettered_at=NOON, subject="s1", target="fast", error_class="404"),
        letter("c", dead_lettered_at=NOON + 2, subject="s1", target="slow", error_class="timeout"),
    ]
    texts = {"a": "nothing", "b": "Straße 7", "c": "hello", "d": "hello"}
    for each in letters:
        await stores.dead_letters.put(replace(each, envelope={"subject": "s", "body": {"content": texts[each.id]}}))
    assert await found(stores.dead_letters, **wanted) == expected


@pytest.mark.promise(13)
async def test_ten_thousand_letters_of_one_second_are_all_kept(
    stores: StoreWorld, report: Callable[[str], None]
) -> None:
    """The predecessor's key overwrote failures of the same second; here each has a key of its own."""
    total, per_millisecond = 10_000, 10
    for n in range(total):
        at = NOON + n // per_millisecond
        await stores.dead_letters.put(letter(f"m{n:05}", dead_lettered_at=at, subject=f"s{n % 7}"))
    every = [each.id async for each in stores.dead_letters.find(DeadLetterFilter(since=NOON, until=NOON + 1_000))]
    assert every == [f"m{n:05}" for n in range(total)]
    assert await found(stores.dead_letters, subject="s3") == [f"m{n:05}" for n in range(3, total, 7)]
    report(f"{total} dead letters of one second put and found")


async def test_same_id_and_time_of_two_subjects_are_two_letters(stores: StoreWorld) -> None:
    """An id is the producer's to choose, so it tells nothing apart by itself."""
    await stores.dead_letters.put(letter(subject="s1"))
    await stores.dead_letters.put(letter(subject="s2"))
    assert [each.subject for each in await stores.dead_letters.get("m1")] == ["s1", "s2"]


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    "changes",
    [
        {"envelope": {"subject": "s", "body": {"content": "x" * 320_000}}},
        {"envelope": {"subject": "s", "body": {"content": "\x01" * 320_000}}},
        {"envelope": None, "raw": b"\xff" * 327_680},
        {"envelope": {"subject": "s", "body": {"content": "é" * 160_000}}, "url": "https://x/" + "y" * 100_000},
    ],
    ids=["the largest", "all escaped", "the largest raw", "a long URL beside it"],
)
async def test_nothing_of_a_large_message_is_lost(stores: StoreWorld, changes: dict[str, Any]) -> None:
    """DynamoDB takes items of 400 KB: what is larger is kept in pieces, and comes out whole."""
    many = tuple(ErrorNote("500", NOON + n, "d" * 1_000, "e" * 1_000) for n in range(100))
    kept = letter(errors=many, **changes)
    await stores.dead_letters.put(kept)
    await stores.dead_letters.put(kept)
    (read,) = await stores.dead_letters.get("m1")
    assert (read.envelope, read.raw, read.attempts, read.reason) == (kept.envelope, kept.raw, 2, Reason.EXHAUSTED)
    assert read.errors[0].key == "500"
    assert [each.id async for each in stores.dead_letters.find(DeadLetterFilter(since=NOON))] == ["m1"]


async def test_a_mark_says_what_was_sent_again(stores: StoreWorld) -> None:
    """On that very dead letter; another mark takes its place; one that is gone is no fault."""
    await stores.dead_letters.put(letter())
    await stores.dead_letters.put(letter(subject="other"))
    first, second = ReplayMark("run1", 1, NOON + 5), ReplayMark("run2", 2, NOON + 9)
    gone = letter("gone").key
    await stores.dead_letters.mark([(letter().key, first), (gone, first)])
    await stores.dead_letters.mark([(letter().key, second)])
    assert list(await stores.dead_letters.get("m1")) == [letter(subject="other"), letter(replay=second)]
    assert [each async for each in stores.dead_letters.find(DeadLetterFilter(replayed=True))] == [letter(replay=second)]
    assert [each.subject async for each in stores.dead_letters.find(DeadLetterFilter(replayed=False))] == ["other"]
    assert await found(stores.dead_letters) == ["m1", "m1"]


async def test_a_put_that_is_repeated_takes_no_mark_away(stores: StoreWorld) -> None:
    """A worker may repeat it long after, when the letter was sent again already."""
    mark = ReplayMark("run1", 1, NOON + 5)
    await stores.dead_letters.put(letter())
    await stores.dead_letters.mark([(letter().key, mark)])
    await stores.dead_letters.put(letter())
    assert list(await stores.dead_letters.get("m1")) == [letter(replay=mark)]


@pytest.mark.parametrize("size", [10, 900_000], ids=["small", "in pieces"])
async def test_what_is_discarded_is_gone(stores: StoreWorld, size: int) -> None:
    """That one only; discarding it again is success."""
    large = letter(raw=b"x" * size, envelope=None, reason=Reason.MALFORMED)
    await stores.dead_letters.put(large)
    await stores.dead_letters.put(letter("m2"))
    await stores.dead_letters.discard([large.key])
    await stores.dead_letters.discard([large.key])
    assert await found(stores.dead_letters) == ["m2"]
    assert list(await stores.dead_letters.get("m1")) == []


async def test_many_marks_at_once(stores: StoreWorld) -> None:
    """More than are written side by side."""
    letters = [letter(f"m{n}", dead_lettered_at=NOON + n) for n in range(40)]
    for each in letters:
        await stores.dead_letters.put(each)
    await stores.dead_letters.mark([(each.key, ReplayMark("run", 1, NOON)) for each in letters[:25]])
    assert await found(stores.dead_letters, replayed=False) == [each.id for each in letters[25:]]
    await stores.dead_letters.discard([each.key for each in letters[5:]])
    assert await found(stores.dead_letters) == [each.id for each in letters[:5]]
