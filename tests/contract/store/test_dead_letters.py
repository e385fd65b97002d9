"""The contract of every dead letter store, through the port. DESIGN §5 (dead letters), promise 13."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaski_core import json_codec
from chaski_core.dead_letter import CLAIM_MS, Claimed, DeadLetter, DeadLetterFilter, ReplayClaim, ReplayMark
from chaski_core.ports import DeadLetterStore
from chaski_core.redaction import Redaction
from chaski_core.retry.ladder import ErrorNote, Reason
from contract.conftest import StoreWorld
from support.dead_letters.builder import a_dead_letter

NOON = 1_800_000_000_000


def letter(message_id: str = "m1", **changes: Any) -> DeadLetter:
    """A dead letter with every field set."""
    plain = a_dead_letter(
        message_id,
        route="helpdesk/conversations",
        subject="pc_send_88_519",
        dead_lettered_at=NOON,
        target="helpdesk",
        url="https://api.helpdesk.example/hooks/1",
        attempts=2,
        errors=(ErrorNote("404", NOON - 5, "HTTP 404", "no such hook"), ErrorNote("timeout", NOON, "x" * 2_000)),
        envelope={"subject": "pc_send_88_519", "body": {"url": "https://x/", "content": 2**70}, "other": [None, 1.5]},
        detail="",
    )
    return replace(plain, **changes)


async def found(store: DeadLetterStore, **wanted: Any) -> list[str]:
    """Ids of the dead letters that pass, in order."""
    return [each.id async for each in store.find(DeadLetterFilter(**wanted))]


async def test_dead_letter_is_read_back_unchanged(stores: StoreWorld) -> None:
    """Every field, big integers and long details included."""
    await stores.dead_letters.put(letter())
    assert [each async for each in stores.dead_letters.find(DeadLetterFilter())] == [letter()]
    assert list(await stores.dead_letters.get("m1")) == [letter()]


@pytest.mark.promise(14)
async def test_redacted_parts_are_stored_whole_and_never_found(stores: StoreWorld) -> None:
    """With what is redacted, also of a message that is larger than an item; a search by text finds the rest only."""
    rules = Redaction(("/card", "/text"), ("authorization",), stored=True)
    content = {"card": "4111-1111", "text": "x" * 500_000, "name": "llama"}
    document = {"subject": "s", "body": {"url": "https://x/", "content": content}}
    kept = [letter("m1", envelope=document, redaction=rules), letter("m2", envelope=None, raw=b"4111", redaction=rules)]
    for each in kept:
        await stores.dead_letters.put(each)
    assert [list(await stores.dead_letters.get(name)) for name in ("m1", "m2")] == [[kept[0]], [kept[1]]]
    assert await found(stores.dead_letters, text="4111") == []
    assert await found(stores.dead_letters, text="llama") == ["m1"]


@pytest.mark.promise(5)
async def test_numbers_of_a_message_keep_their_digits(stores: StoreWorld) -> None:
    """In the store and in an export; a replay sends the same document."""
    content = b'{"amount":12345678901234567.89,"rate":1.10,"list":[1e2,-0,1e-400,123456789012345678901234567890]}'
    document = b'{"subject":"s","body":{"url":"https://x/","content":%b}}' % content
    await stores.dead_letters.put(letter(envelope=json_codec.loads(document)))
    (kept,) = await stores.dead_letters.get("m1")
    assert json_codec.dumps(kept.envelope) == document
    assert content in json_codec.dumps(kept.as_json())
    (found_again,) = [each async for each in stores.dead_letters.find(DeadLetterFilter(text="1.10"))]
    assert json_codec.dumps(found_again.envelope) == document


@pytest.mark.promise(5)
async def test_malformed_bytes_are_kept_raw(stores: StoreWorld) -> None:
    """Bytes that are not text are read back unchanged."""
    malformed = letter(envelope=None, raw=b"\xff\x00garbage", reason=Reason.MALFORMED, detail="not JSON")
    await stores.dead_letters.put(malformed)
    assert list(await stores.dead_letters.get("m1")) == [malformed]
    assert await found(stores.dead_letters, text="GARBAGE") == ["m1"]


@pytest.mark.promise(2)
async def test_repeated_put_keeps_the_first(stores: StoreWorld) -> None:
    """A put repeated after a crash, at another time, succeeds and changes nothing."""
    await stores.dead_letters.put(letter())
    await stores.dead_letters.put(letter(detail="written again", attempts=9))
    await stores.dead_letters.put(letter(dead_lettered_at=NOON + 7_200_000, attempts=9))
    assert list(await stores.dead_letters.get("m1")) == [letter()]
    assert [each async for each in stores.dead_letters.find(DeadLetterFilter())] == [letter()]


@pytest.mark.promise(2)
async def test_puts_of_one_message_at_once_keep_one(stores: StoreWorld) -> None:
    """Two workers may have the same message for a moment; each of their puts succeeds."""
    await asyncio.gather(*(stores.dead_letters.put(letter(dead_lettered_at=NOON + n)) for n in range(8)))
    assert await found(stores.dead_letters) == ["m1"]


@pytest.mark.promise(2)
async def test_a_discarded_dead_letter_is_not_stored_again(stores: StoreWorld) -> None:
    """A message that could not be deleted from its queue is not stored a second time."""
    await stores.dead_letters.put(letter())
    await stores.dead_letters.discard([letter().key])
    await stores.dead_letters.put(letter(dead_lettered_at=NOON + 60_000))
    assert await found(stores.dead_letters) == []
    assert list(await stores.dead_letters.get("m1")) == []


def replay_of(root: str, message_id: str, label: str, at: int) -> DeadLetter:
    """A dead letter of a replay."""
    document = {"subject": "s", "body": {}, "metadata": {"id": label, "replayOf": root}}
    return letter(message_id, id=label, dead_lettered_at=at, envelope=document)


@pytest.mark.promise(13)
async def test_dead_letters_are_read_by_identity_label_and_original(stores: StoreWorld) -> None:
    """An identity finds its own dead letter and those of its replays; a label finds all that have it, in any subject."""
    root = letter("m1", id="order-1")
    other = letter("m2", id="order-1", subject="other", dead_lettered_at=NOON + 1)
    first, second = replay_of("m1", "m3", "order-1", NOON + 2), replay_of("m1", "m4", "order-1", NOON + 3)
    named_so = letter("m5", id="m1", dead_lettered_at=NOON + 4)  # a producer may use the same id
    for each in (second, other, first, root, named_so):
        await stores.dead_letters.put(each)
    expected = {
        "order-1": [root, other, first, second],
        "m1": [root, first, second, named_so],
        "m2": [other],
        "m3": [first],
        "m5": [named_so],
        "m9": [],
    }
    assert {each: list(await stores.dead_letters.get(each)) for each in expected} == expected


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
async def test_dead_letters_are_found(stores: StoreWorld, wanted: dict[str, Any], expected: list[str]) -> None:
    """By time, route, subject, target, class and content, alone and combined, oldest first or newest first."""
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
    newest = stores.dead_letters.find(DeadLetterFilter(**wanted), newest_first=True)
    assert [each.id async for each in newest] == expected[::-1]


@pytest.mark.promise(13)
@pytest.mark.parametrize(
    "wanted", [{}, {"target": "slow"}, {"subject": "s1"}], ids=["of all", "of a target", "of a subject"]
)
async def test_pages_continue_newest_first(stores: StoreWorld, wanted: dict[str, str]) -> None:
    """Over several pages, hours and shards, also between dead letters of one millisecond."""
    hour, count = 3_600_000, 420
    for n in range(count):
        at = NOON + n // 140 * hour + n % 140 // 2
        await stores.dead_letters.put(letter(f"m{n:03}", dead_lettered_at=at, subject=f"s{n % 2}", target="slow"))
    forward = await found(stores.dead_letters, **wanted)
    assert len(forward) == (count // 2 if "subject" in wanted else count)
    newest = [each.id async for each in stores.dead_letters.find(DeadLetterFilter(**wanted), newest_first=True)]
    assert newest == forward[::-1]


@pytest.mark.landing
@pytest.mark.promise(13)
async def test_ten_thousand_dead_letters_of_one_second_are_all_kept(
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


@pytest.mark.promise(2)
@pytest.mark.parametrize("subject", ["s1", "s2"], ids=["of one subject", "of two subjects"])
async def test_same_id_and_time_of_two_messages_are_two_dead_letters(stores: StoreWorld, subject: str) -> None:
    """Producers choose ids, so an id does not distinguish messages."""
    await stores.dead_letters.put(letter("m1", id="order-1", subject="s1"))
    await stores.dead_letters.put(letter("m2", id="order-1", subject=subject))
    assert [each.subject for each in await stores.dead_letters.get("order-1")] == ["s1", subject]


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
    """DynamoDB accepts items of 400 KB: a larger message is stored in parts and read back whole."""
    many = tuple(ErrorNote("500", NOON + n, "d" * 1_000, "e" * 1_000) for n in range(100))
    kept = letter(errors=many, **changes)
    await stores.dead_letters.put(kept)
    await stores.dead_letters.put(kept)
    (read,) = await stores.dead_letters.get("m1")
    assert (read.envelope, read.raw, read.attempts, read.reason) == (kept.envelope, kept.raw, 2, Reason.EXHAUSTED)
    assert read.errors[0].key == "500"
    assert [each.id async for each in stores.dead_letters.find(DeadLetterFilter(since=NOON))] == ["m1"]


async def test_a_mark_records_a_replay(stores: StoreWorld) -> None:
    """On that dead letter only; a later mark replaces it; a missing dead letter is not an error."""
    await stores.dead_letters.put(letter())
    other = letter("m0", id="m1", subject="other")
    await stores.dead_letters.put(other)
    first, second = ReplayMark("run1", 1, NOON + 5), ReplayMark("run2", 2, NOON + 9, "m7")
    gone = letter("gone").key
    await stores.dead_letters.mark([(letter().key, first), (gone, first)])
    await stores.dead_letters.mark([(letter().key, second)])
    assert list(await stores.dead_letters.get("m1")) == [other, letter(replay=second)]
    assert [each async for each in stores.dead_letters.find(DeadLetterFilter(replayed=True))] == [letter(replay=second)]
    assert [each.subject async for each in stores.dead_letters.find(DeadLetterFilter(replayed=False))] == ["other"]
    assert await found(stores.dead_letters) == ["m1", "m1"]


async def test_a_repeated_put_keeps_the_mark(stores: StoreWorld) -> None:
    """A worker may repeat it long after the dead letter was replayed."""
    mark = ReplayMark("run1", 1, NOON + 5)
    await stores.dead_letters.put(letter())
    await stores.dead_letters.mark([(letter().key, mark)])
    await stores.dead_letters.put(letter())
    assert list(await stores.dead_letters.get("m1")) == [letter(replay=mark)]


@pytest.mark.parametrize("size", [10, 900_000], ids=["small", "in pieces"])
async def test_a_discarded_dead_letter_is_deleted(stores: StoreWorld, size: int) -> None:
    """That one only; discarding it again succeeds."""
    large = letter(raw=b"x" * size, envelope=None, reason=Reason.MALFORMED)
    await stores.dead_letters.put(large)
    await stores.dead_letters.put(letter("m2"))
    await stores.dead_letters.discard([large.key])
    await stores.dead_letters.discard([large.key])
    assert await found(stores.dead_letters) == ["m2"]
    assert list(await stores.dead_letters.get("m1")) == []


FRESH = ReplayClaim("run1", NOON)
CLAIMS: dict[str, tuple[str, int, ReplayMark | None, Claimed]] = {
    "another run, at once": ("run2", NOON + 1, None, Claimed.HELD),
    "another run, before five minutes are over": ("run2", NOON + CLAIM_MS - 1, None, Claimed.HELD),
    "another run, after five minutes": ("run2", NOON + CLAIM_MS, None, Claimed.YES),
    "the same run": ("run1", NOON + 1, None, Claimed.YES),
    "another run, for a mark that is not there": ("run2", NOON + CLAIM_MS, ReplayMark("x", 1, 5), Claimed.SENT),
}


@pytest.mark.parametrize(("run", "at", "judged", "expected"), CLAIMS.values(), ids=CLAIMS.keys())
async def test_a_claim_belongs_to_one_run(
    stores: StoreWorld, run: str, at: int, judged: ReplayMark | None, expected: Claimed
) -> None:
    """For five minutes, the queue's deduplication window for what its run sends."""
    await stores.dead_letters.put(letter())
    assert list(await stores.dead_letters.claim([(letter().key, None)], FRESH)) == [Claimed.YES]
    assert list(await stores.dead_letters.claim([(letter().key, judged)], ReplayClaim(run, at))) == [expected]


async def test_a_claim_sees_later_marks(stores: StoreWorld) -> None:
    """By another run, or by the same; a mark that the run has read does not prevent a claim, and a mark ends a claim."""
    await stores.dead_letters.put(letter())
    await stores.dead_letters.put(letter("m2"))
    await stores.dead_letters.claim([(letter().key, None)], FRESH)
    mark = ReplayMark("run1", 1, NOON + 5, "m7")
    await stores.dead_letters.mark([(letter().key, mark)])
    wanted = [(letter().key, None), (letter("m2").key, None), (letter("gone").key, None)]
    later = [Claimed.SENT, Claimed.YES, Claimed.GONE]
    assert list(await stores.dead_letters.claim(wanted, ReplayClaim("run2", NOON + 9))) == later
    assert list(await stores.dead_letters.claim(wanted[:1], ReplayClaim("run1", NOON + 9))) == [Claimed.DONE]
    again = [(letter().key, mark)]
    assert list(await stores.dead_letters.claim(again, ReplayClaim("run3", NOON + 9))) == [Claimed.YES]
    assert list(await stores.dead_letters.get("m1")) == [letter(replay=mark)]


async def test_a_released_claim_blocks_no_run(stores: StoreWorld) -> None:
    """By a claim of time 0."""
    await stores.dead_letters.put(letter())
    for run, at in (("run1", NOON), ("run1", 0), ("run2", NOON + 1)):
        assert list(await stores.dead_letters.claim([(letter().key, None)], ReplayClaim(run, at))) == [Claimed.YES]


async def test_of_two_concurrent_runs_one_gets_each_dead_letter(stores: StoreWorld) -> None:
    """In any interleaving of their calls."""
    letters = [letter(f"m{n}", dead_lettered_at=NOON + n) for n in range(30)]
    for each in letters:
        await stores.dead_letters.put(each)
    wanted = [(each.key, None) for each in letters]
    runs = [stores.dead_letters.claim(wanted, ReplayClaim(f"run{n}", NOON)) for n in range(2)]
    for results in zip(*await asyncio.gather(*runs), strict=True):
        assert sorted(results) == [Claimed.HELD, Claimed.YES]


async def test_many_marks_at_once(stores: StoreWorld) -> None:
    """More than are written concurrently."""
    letters = [letter(f"m{n}", dead_lettered_at=NOON + n) for n in range(40)]
    for each in letters:
        await stores.dead_letters.put(each)
    await stores.dead_letters.mark([(each.key, ReplayMark("run", 1, NOON)) for each in letters[:25]])
    assert await found(stores.dead_letters, replayed=False) == [each.id for each in letters[25:]]
    await stores.dead_letters.discard([each.key for each in letters[5:]])
    assert await found(stores.dead_letters) == [each.id for each in letters[:5]]
