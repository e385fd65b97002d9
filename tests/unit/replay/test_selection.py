"""The message that is sent for a dead letter, and why some are skipped."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_core.dead_letter import DeadLetter, ReplayMark
from chaski_core.message.envelope import Envelope, Metadata, read_envelope, write_envelope
from chaski_core.redaction import Redaction
from chaski_core.retry.ladder import ErrorNote, LadderState
from chaski_replay.selection import Ready, Run, SkipReason, judge, rewritten_url
from support.dead_letters.builder import a_dead_letter
from support.worker.harness import make_route, resolve

NOON = 1_800_000_000_000
ROUTES = {"ns/r": resolve(make_route(partitions=4))}
RUN = Run("run1")


def dead_letter(**changes: Any) -> DeadLetter:
    """A dead letter of route ns/r."""
    ladder = LadderState("404", 2, (ErrorNote("404", NOON - 9, "HTTP 404", ""),))
    document = {"subject": "s", "body": {"url": "http://t0.example/a?b=1"}, "own": [1]}
    made = read_envelope(write_envelope(document, Metadata("m1", "ns/r", NOON - 100, "p", None, 0, ladder)))
    assert isinstance(made, Envelope)
    plain = a_dead_letter(
        "i1",
        id="m1",
        dead_lettered_at=NOON,
        target="t0",
        url="http://t0.example/a",
        attempts=3,
        errors=ladder.errors,
        envelope=made.document,
    )
    return replace(plain, **changes)


def judged(given: DeadLetter, run: Run = RUN, *, allowed: bool = True) -> Ready | SkipReason:
    """The decision if every URL is allowed, or none."""
    return judge(given, run, ROUTES, lambda _route, _url: allowed)


def sent(given: DeadLetter, run: Run = RUN) -> Envelope:
    """The message that is sent for it."""
    ready = judged(given, run)
    assert isinstance(ready, Ready)
    envelope = read_envelope(ready.message.body)
    assert isinstance(envelope, Envelope)
    return envelope


def test_a_replay_is_a_new_message() -> None:
    """Same label, producer and time of acceptance; no ladder, hops or identity; with its original's identity."""
    envelope = sent(dead_letter())
    assert envelope.metadata == Metadata("m1", "ns/r", NOON - 100, "p", None, 1, None, replay_of="i1")
    assert envelope.document["own"] == [1]
    assert envelope.document["metadata"]["replay"] == "run1"
    ready = judged(dead_letter())
    assert isinstance(ready, Ready)
    assert ready.message.deduplication_id == "i1:replay:1"
    assert ready.queue_url == ROUTES["ns/r"].place("s")[2]
    assert ready.order == NOON - 100


def test_every_replay_has_an_epoch_of_its_own() -> None:
    """Above that of the message, and that of the latest replay of this dead letter."""
    once = sent(dead_letter())
    assert sent(dead_letter(envelope=once.document), Run("run2")).metadata == replace(
        once.metadata or Metadata(), epoch=2
    )
    marked = dead_letter(replay=ReplayMark("run1", 4, NOON))
    again = sent(marked, Run("run2", again=True))
    assert again.metadata is not None
    assert again.metadata.epoch == 5


def test_a_replay_of_a_replay_names_the_message_that_was_accepted() -> None:
    """The root of all replays; metadata of hops is removed."""
    in_flight = Metadata(
        "m1", "ns/r", NOON - 100, "p", None, 1, None, message_id="i7", sequence_number=9, hops=3, replay_of="i1"
    )
    document = read_envelope(write_envelope({"subject": "s", "body": {"url": "http://t0.example/"}}, in_flight))
    assert isinstance(document, Envelope)
    given = dead_letter(message_id="i7", envelope=document.document)
    made = sent(given).metadata
    assert made == Metadata("m1", "ns/r", NOON - 100, "p", None, 2, None, replay_of="i1")
    ready = judged(given)
    assert isinstance(ready, Ready)
    assert (ready.message.deduplication_id, ready.sequence_number) == ("i7:replay:2", 9)
    assert not {"messageId", "sequenceNumber", "hops"} & set(sent(given).document["metadata"])


def test_a_dead_letter_of_a_release_without_identities_is_the_root_of_its_replay() -> None:
    """By its label; or by the identity that a newer worker gave the message on a rung."""
    before = dead_letter(message_id="m1")
    assert (sent(before).metadata or Metadata()).replay_of == "m1"
    document = {**(before.envelope or {}), "metadata": {"id": "m1", "messageId": "i9"}}
    assert (sent(dead_letter(message_id="m1", envelope=document)).metadata or Metadata()).replay_of == "i9"


def test_the_same_run_builds_the_same_message() -> None:
    """A message that was sent but not marked before a kill is deduplicated."""
    assert judged(dead_letter()) == judged(dead_letter())


def test_a_message_without_metadata_is_given_some() -> None:
    """From the dead letter."""
    given = dead_letter(envelope={"subject": "s", "body": {"url": "http://t0.example/"}})
    assert sent(given).metadata == Metadata("m1", "ns/r", None, None, None, 1, None, replay_of="i1")
    ready = judged(given)
    assert isinstance(ready, Ready)
    assert ready.order == NOON - 9


SKIPS = {
    "malformed": (dead_letter(envelope=None, raw=b"\xff"), RUN, SkipReason.MALFORMED),
    "another route": (dead_letter(route="ns/gone"), RUN, SkipReason.NO_ROUTE),
    "sent by another run": (dead_letter(replay=ReplayMark("other", 1, NOON)), RUN, SkipReason.REPLAYED),
    "sent by this run": (dead_letter(replay=ReplayMark("run1", 1, NOON)), RUN, SkipReason.DONE),
    "sent by this run, again": (
        dead_letter(replay=ReplayMark("run1", 1, NOON)),
        Run("run1", again=True),
        SkipReason.DONE,
    ),
    "stored without some of its parts": (
        dead_letter(redaction=Redaction(("/card",), stored=True)),
        RUN,
        SkipReason.REDACTED,
    ),
    "failed again in this run": (dead_letter(envelope=sent(dead_letter()).document), RUN, SkipReason.OWN),
    "too large": (
        dead_letter(envelope={"subject": "s", "body": {"url": "http://t/", "content": "x" * 327_600}}),
        RUN,
        SkipReason.TOO_LARGE,
    ),
}


@pytest.mark.parametrize(("given", "run", "skip"), SKIPS.values(), ids=SKIPS.keys())
def test_skipped_dead_letters_have_a_reason(given: DeadLetter, run: Run, skip: SkipReason) -> None:
    """Reports count by it."""
    assert judged(given, run) is skip


@pytest.mark.promise(6)
def test_targets_that_no_rule_covers_are_not_sent() -> None:
    """It would be a dead letter again at once."""
    assert judged(dead_letter(), allowed=False) is SkipReason.NOT_ALLOWED


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://t0.example/p?", "https://new.example/p?"),
        ("http://t0.example?b=1", "https://new.example/?b=1"),
        ("http://t0.example/a//b?c=/?#part", "https://new.example/a//b?c=/?"),
        ("http://t0.example", "https://new.example/"),
    ],
)
def test_a_message_that_is_sent_elsewhere_keeps_its_path_and_query_as_written(url: str, expected: str) -> None:
    """A fragment, for which it was refused, stays behind."""
    assert rewritten_url(url, "https://new.example") == expected


@pytest.mark.parametrize(
    ("to_url", "expected"),
    [
        ("https://new.example", "https://new.example/a?b=1"),
        ("https://new.example:8443", "https://new.example:8443/a?b=1"),
        ("https://new.example/", "https://new.example/"),
        ("https://new.example/in?c=2", "https://new.example/in?c=2"),
    ],
)
def test_a_message_can_be_sent_elsewhere(to_url: str, expected: str) -> None:
    """To one URL, or to another host with its own path and query; the dead letter keeps what it was."""
    assert rewritten_url("http://t0.example/a?b=1", to_url) == expected
    assert sent(dead_letter(), Run("run1", to_url=to_url)).body["url"] == expected


CREDENTIALS = [
    *("Authorization", "authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X_API_KEY", "Api-Key", "apikey"),
    *("X-Auth-Token", "Private-Token", "Ocp-Apim-Subscription-Key", "x-functions-key", "X-Hub-Signature-256", "DPoP"),
    *(
        "X-Amz-Security-Token",
        "X-Amz-Date",
        "X-Goog-Api-Key",
        "X-Shared-Secret",
        "CF-Access-Client-Secret",
        "X-CSRF-Token",
    ),
]
OTHERS = ["Content-Type", "Idempotency-Keyed", "X-Author", "X-Key-Figures", "X-Tenant", "traceparent", "Accept"]


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("to_url", "kept"),
    [
        ("http://t0.example", True),
        ("http://T0.EXAMPLE:80/other", True),
        ("https://t0.example", False),
        ("http://t0.example:8080", False),
        ("http://t1.example/x", False),
    ],
)
def test_another_origin_gets_no_credentials_of_the_former_one(to_url: str, kept: bool) -> None:
    """As browsers and curl do when a redirect leads to another origin; all other headers are sent."""
    given = dead_letter()
    assert given.envelope is not None
    headers = dict.fromkeys((*CREDENTIALS, *OTHERS), "v")
    document = {**given.envelope, "body": {"url": "http://t0.example/a?b=1", "headers": headers}}
    envelope = sent(replace(given, envelope=document), Run("run1", to_url=to_url))
    assert sorted(envelope.body["headers"]) == sorted([*OTHERS, *(CREDENTIALS if kept else ())])


def test_without_another_url_a_replay_keeps_all_headers() -> None:
    """The message is sent as it was accepted, also one whose headers are not an object."""
    given = dead_letter()
    assert given.envelope is not None
    for headers in ({"Authorization": "v"}, ["x"], None):
        document = {**given.envelope, "body": {"url": "http://t0.example/a", "headers": headers}}
        assert sent(replace(given, envelope=document)).body["headers"] == headers
        moved = sent(replace(given, envelope=document), Run("run1", to_url="http://t1.example"))
        assert moved.body["headers"] == ({} if isinstance(headers, dict) else headers)
