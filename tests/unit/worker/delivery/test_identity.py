"""The identity of a message: attempts, retries and dead letters are counted by it, whatever its label is."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

import pytest

from chaski_core.message.envelope import Envelope, Metadata, read_envelope, write_envelope
from chaski_core.message.subject import first_deduplication_id
from chaski_core.ports import OutgoingMessage, ReceivedMessage, Sent
from chaski_core.retry.ladder import ErrorNote, LadderState, Retry
from chaski_core.retry.outcome import Outcome, class_of_status
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import Ordering
from chaski_core.timestamps import timestamp
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_worker.delivery.admission import Admission
from chaski_worker.delivery.attempt import AttemptContext, Attempts, message_headers, own_headers
from chaski_worker.delivery.limits import IntakeLimiter, Slots
from chaski_worker.delivery.triage import AgeLimits, Deliverable, Stage, triage
from chaski_worker.guard.guard import Guard
from chaski_worker.hosts.holds import Holds
from chaski_worker.lanes.handoff import rung_message
from chaski_worker.metrics import WorkerMetrics
from support.clocks import StillClock
from support.worker.harness import FakeTarget, WorkerHarness, make_route

BOTH = pytest.mark.parametrize("ordering", list(Ordering))
FAST = Rung("fast", 2)
LADDER = RetryPolicy((FAST,), (Ladder("any", 1, ("fast",)),))
FIVE_MINUTES = 301
SUBJECT = "Chaski-Subject"
STATE = LadderState("500", 0, (ErrorNote("500", 1),))


@dataclass
class Recorder(FakeTarget):
    """A target that fails everything and keeps the headers that Chaski adds."""

    headers: list[dict[str, str]] = field(default_factory=list)

    async def deliver(self, attempt: AttemptContext) -> Outcome:
        """Records one call."""
        headers = dict(own_headers(attempt)) | dict(attempt.message_headers)
        self.headers.append(headers | {"url": attempt.request.url})
        await asyncio.sleep(0.01)
        return Outcome(class_of_status(400), status=400, detail="HTTP 400", target="t0")


def recorder() -> Recorder:
    """A new recorder."""
    return Recorder(lambda *_: 400)


async def accept(harness: WorkerHarness, subject: str, label: str, content: str, key: str) -> str:
    """Sends a message to its queue as ingest would; returns its identity."""
    document = {"subject": subject, "body": {"url": f"http://t0.example/{content}", "content": content}}
    metadata = Metadata(id=label, route=harness.route.key, accepted_at=harness.clock.now_ms())
    queue = harness.backend.queue(harness.resolved.place(subject)[2])
    message = OutgoingMessage(write_envelope(document, metadata), subject, first_deduplication_id(key))
    (sent,) = await queue.send([message])
    assert isinstance(sent, Sent)
    return sent.message_id


def received(metadata: Metadata | None, *, message_id: str = "queue-id", number: int = 77) -> ReceivedMessage:
    """A received message."""
    document = {"subject": "s", "body": {"url": "http://t0.example/"}}
    body = (
        b'{"subject":"s","body":{"url":"http://t0.example/"}}'
        if metadata is None
        else write_envelope(document, metadata)
    )
    return ReceivedMessage(message_id, "h", body, "s", "d", number, 0, 1, 0)


async def may_dial() -> bool:
    """The message is still hidden."""
    return True


def judged(message: ReceivedMessage, stage: Stage) -> Deliverable:
    """The message after triage."""
    verdict = triage(message, stage, 0, AgeLimits(expiry=1_000))
    assert isinstance(verdict, Deliverable)
    return verdict


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(4)
@pytest.mark.looptime
async def test_an_id_used_again_after_five_minutes_names_another_message(ordering: Ordering) -> None:
    """Both fail: each is attempted and retried as declared, and each is a dead dead_letter of its own."""
    harness = WorkerHarness(make_route(ordering, policy=LADDER), target := recorder())
    first = await accept(harness, "c", "order-7", "first", "k1")
    await asyncio.sleep(FIVE_MINUTES)
    second = await accept(harness, "c", "order-7", "second", "k2")
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert Counter(seen["url"] for seen in target.headers) == {
        "http://t0.example/first": 2,
        "http://t0.example/second": 2,
    }
    dead_letters = harness.backend.dead_letters.letters
    assert {dead_letter.message_id for dead_letter in dead_letters} == {first, second}
    assert [(dead_letter.id, dead_letter.attempts) for dead_letter in dead_letters] == [("order-7", 2)] * 2


@BOTH
@pytest.mark.promise(2)
@pytest.mark.looptime
async def test_one_id_on_two_subjects_at_once_is_two_messages(ordering: Ordering) -> None:
    """Their rung accepts both, though their labels, rungs and retries are the same."""
    harness = WorkerHarness(make_route(ordering, policy=LADDER), recorder())
    identities = {await accept(harness, subject, "order-1", subject, subject) for subject in ("a", "b")}
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert {dead_letter.message_id for dead_letter in harness.backend.dead_letters.letters} == identities


@BOTH
@pytest.mark.looptime
async def test_every_attempt_shows_the_same_identity_and_the_label(ordering: Ordering) -> None:
    """So a target drops repeats of one message and never a distinct one."""
    harness = WorkerHarness(make_route(ordering, policy=LADDER), target := recorder())
    identity = await accept(harness, "c", "order-7", "x", "k")
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert [(seen["Chaski-Message-Id"], seen["Chaski-Id"]) for seen in target.headers] == [(identity, "order-7")] * 2
    assert {(entry.message_id, entry.id) for entry in harness.backend.journal.entries} == {(identity, "order-7")}


@BOTH
@pytest.mark.looptime
async def test_every_attempt_shows_its_place_in_the_subject_and_the_last_status(ordering: Ordering) -> None:
    """The same sequence and time at each attempt, also from a rung; a later message of the subject has a greater sequence."""
    harness = WorkerHarness(make_route(ordering, policy=LADDER), target := recorder())
    accepted_at = timestamp(harness.clock.now_ms())
    for content in ("x", "y"):
        await accept(harness, "käse 100%", f"order-{content}", content, content)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    sequences: dict[str, list[str]] = {"http://t0.example/x": [], "http://t0.example/y": []}
    for seen in target.headers:
        assert seen["Chaski-Subject"] == "k%C3%A4se%20100%25"
        assert seen["Chaski-Accepted-At"] == accepted_at
        assert seen.get("Chaski-Last-Status") == (None if seen["Chaski-Attempt"] == "1" else "400")
        sequences[seen["url"]].append(seen["Chaski-Sequence"])
    (first,), (second,) = (set(each) for each in sequences.values())
    assert [len(each) for each in sequences.values()] == [2, 2]
    assert first.split(".")[0] == second.split(".")[0] == "1"
    assert int(first.split(".")[1]) < int(second.split(".")[1])


def test_headers_about_a_message_leave_out_what_is_unknown_or_not_trusted() -> None:
    """A message put on the queue directly, and one that a release before put on its rung; any of their values may be forged."""
    direct = judged(received(None), Stage.FIRST)
    assert dict(message_headers(direct)) == {"Chaski-Subject": "s", "Chaski-Accepted-At": timestamp(0)}
    hopped = judged(received(Metadata(message_id="i", sequence_number=5, ladder=STATE, accepted_at=9)), Stage.RETRY)
    assert dict(message_headers(hopped)) == {
        "Chaski-Subject": "s",
        "Chaski-Accepted-At": timestamp(9),
        "Chaski-Last-Status": "500",
    }
    forged = LadderState("500", 0, (ErrorNote("a\r\nb: c", 1),))
    envelope = Envelope("s" * 513, {}, Metadata(ladder=forged), {})
    assert message_headers(Deliverable("i", envelope, forged, 5, 9, None, 3)) == [
        ("Chaski-Sequence", "3.5"),
        ("Chaski-Accepted-At", timestamp(9)),
    ]


@pytest.mark.parametrize(
    "subject", ["order_7", "a%b", " a ", "käse", "\r\nX: y", "\x7f", "~!#$&'()*+,/:;=?@[]", "日本"]
)
def test_a_subject_travels_in_ascii_and_is_read_by_percent_decoding(subject: str) -> None:
    """Nothing in it can end the header."""
    (sent,) = (
        text
        for name, text in message_headers(Deliverable("i", Envelope(subject, {}, None, {}), None))
        if name == SUBJECT
    )
    assert re.fullmatch("[!-~]+", sent)
    assert unquote(sent) == subject


def test_the_first_queue_gives_the_identity() -> None:
    """Metadata of a message on that queue is not trusted: no producer can take over the identity of another message."""
    forged = Metadata(id="order-7", message_id="somebody-elses", sequence_number=1)
    task = judged(received(forged), Stage.FIRST)
    assert (task.message_id, task.sequence_number, task.id) == ("queue-id", 77, "order-7")


def test_a_hop_carries_identity_sequence_number_and_its_count() -> None:
    """And so does the next hop, whatever message id that rung's queue assigns."""
    task = judged(received(Metadata(id="order-7")), Stage.FIRST)
    hop = rung_message("ns/r", task, Retry(FAST, 0, STATE, 0), 0)
    assert hop.deduplication_id == "queue-id:fast:0:1"
    envelope = read_envelope(hop.body)
    assert isinstance(envelope, Envelope)
    assert envelope.metadata is not None
    assert (envelope.metadata.message_id, envelope.metadata.sequence_number, envelope.metadata.hops) == (
        "queue-id",
        77,
        1,
    )
    assert envelope.metadata.queued_at == task.queued_at == 0

    again = judged(replace(received(None, message_id="rung-id", number=5), body=hop.body), Stage.RETRY)
    assert (again.message_id, again.sequence_number, again.id) == ("queue-id", 77, "order-7")
    assert rung_message("ns/r", again, Retry(FAST, 0, STATE, 0), 0).deduplication_id == "queue-id:fast:0:2"


def test_a_rung_message_without_identity_gets_its_rungs_message_id() -> None:
    """It has no identity; from here on it keeps this one."""
    task = judged(received(Metadata(id="order-7", ladder=STATE), message_id="rung-id"), Stage.RETRY)
    assert task.message_id == "rung-id"
    hop = rung_message("ns/r", task, Retry(FAST, 0, STATE, 0), 0)
    assert judged(replace(received(None), body=hop.body), Stage.RETRY).message_id == "rung-id"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, {"Chaski-Message-Id": "queue-id", "Chaski-Attempt": "1"}),
        (Metadata(id="a b"), {"Chaski-Message-Id": "queue-id", "Chaski-Attempt": "1"}),
        (
            Metadata(id="order-7", epoch=1, replay_of="root"),
            {
                "Chaski-Message-Id": "queue-id",
                "Chaski-Attempt": "1",
                "Chaski-Id": "order-7",
                "Chaski-Replay-Of": "root",
            },
        ),
    ],
    ids=["no metadata", "a label that is none", "a replay"],
)
async def test_a_target_receives_identity_label_and_origin_of_a_replay(
    metadata: Metadata | None, expected: dict[str, str]
) -> None:
    """An invalid label is not sent: queue content is not trusted."""
    target = recorder()
    route, clock = make_route(), StillClock()
    attempts = Attempts(
        "ns/r",
        Guard(route.allow),
        target.deliver,
        admission=Admission(
            Slots(1, several=False, monotonic=clock.monotonic),
            IntakeLimiter(1, 1),
            Holds(route, WorkerMetrics(MetricsRegistry()), clock, step_seconds=300),
        ),
        clock=clock,
    )
    await attempts.make(judged(received(metadata), Stage.FIRST), may_dial)
    about = {"Chaski-Subject": "s", "Chaski-Accepted-At": timestamp(0)}
    assert target.headers == [expected | about | {"url": "http://t0.example/"}]
