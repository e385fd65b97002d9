"""The identity of a message: what is counted, retried and dead-lettered is the message, whatever its label is."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from chaski_core.message.envelope import Envelope, HttpRequest, Metadata, read_envelope, write_envelope
from chaski_core.message.subject import first_deduplication_id
from chaski_core.ports import OutgoingMessage, ReceivedMessage, Sent
from chaski_core.retry.ladder import ErrorNote, Ladder, LadderState, Retry, RetryPolicy, Rung
from chaski_core.retry.outcome import Outcome, class_of_status
from chaski_core.route.model import Ordering
from chaski_worker.delivery.attempt import extra_headers
from chaski_worker.delivery.triage import Deliverable, Stage, triage
from chaski_worker.lanes.handoff import rung_message
from support.worker.harness import FakeTarget, World, make_route

BOTH = pytest.mark.parametrize("ordering", list(Ordering))
FAST = Rung("fast", 2)
LADDER = RetryPolicy((FAST,), (Ladder("any", 1, ("fast",)),))
FIVE_MINUTES = 301


@dataclass
class Recorder(FakeTarget):
    """A target that fails everything and keeps the headers that Chaski adds."""

    headers: list[dict[str, str]] = field(default_factory=list)

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]]) -> Outcome:
        """One call."""
        self.headers.append(dict(headers) | {"url": request.url})
        await asyncio.sleep(0.01)
        return Outcome(class_of_status(400), status=400, detail="HTTP 400", target="t0")


def recorder() -> Recorder:
    """A fresh one."""
    return Recorder(lambda *_: 400)


async def accept(world: World, subject: str, label: str, content: str, key: str) -> str:
    """Puts a message on its queue as ingest would; its identity."""
    document = {"subject": subject, "body": {"url": f"http://t0.example/{content}", "content": content}}
    metadata = Metadata(id=label, route=world.route.key, accepted_at=world.clock.now_ms())
    queue = world.backend.queue(world.resolved.place(subject)[2])
    message = OutgoingMessage(write_envelope(document, metadata), subject, first_deduplication_id(key))
    (sent,) = await queue.send([message])
    assert isinstance(sent, Sent)
    return sent.message_id


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(4)
@pytest.mark.looptime
async def test_an_id_used_again_after_five_minutes_names_another_message(ordering: Ordering) -> None:
    """Both fail: each is attempted and retried as declared, and each is a dead letter of its own."""
    world = World(make_route(ordering, policy=LADDER), target := recorder())
    first = await accept(world, "c", "order-7", "first", "k1")
    await asyncio.sleep(FIVE_MINUTES)
    second = await accept(world, "c", "order-7", "second", "k2")
    world.start()
    await world.settled()
    await world.stop()

    assert Counter(seen["url"] for seen in target.headers) == {
        "http://t0.example/first": 2,
        "http://t0.example/second": 2,
    }
    letters = world.backend.dead_letters.letters
    assert {letter.message_id for letter in letters} == {first, second}
    assert [(letter.id, letter.attempts) for letter in letters] == [("order-7", 2)] * 2


@BOTH
@pytest.mark.promise(2)
@pytest.mark.looptime
async def test_one_id_on_two_subjects_at_once_is_two_messages(ordering: Ordering) -> None:
    """The rung of both takes both, though their labels, rungs and retries are the same."""
    world = World(make_route(ordering, policy=LADDER), recorder())
    identities = {await accept(world, subject, "order-1", subject, subject) for subject in ("a", "b")}
    world.start()
    await world.settled()
    await world.stop()

    assert {letter.message_id for letter in world.backend.dead_letters.letters} == identities


@BOTH
@pytest.mark.looptime
async def test_every_attempt_shows_the_same_identity_and_the_label(ordering: Ordering) -> None:
    """So a target drops repeats of one message and never a distinct one."""
    world = World(make_route(ordering, policy=LADDER), target := recorder())
    identity = await accept(world, "c", "order-7", "x", "k")
    world.start()
    await world.settled()
    await world.stop()

    assert [(seen["Chaski-Message-Id"], seen["Chaski-Id"]) for seen in target.headers] == [(identity, "order-7")] * 2
    assert {(entry.message_id, entry.id) for entry in world.backend.journal.entries} == {(identity, "order-7")}


def received(metadata: Metadata | None, *, message_id: str = "queue-id", number: int = 77) -> ReceivedMessage:
    """A message as a queue gives it."""
    document = {"subject": "s", "body": {"url": "http://t0.example/"}}
    body = (
        b'{"subject":"s","body":{"url":"http://t0.example/"}}'
        if metadata is None
        else write_envelope(document, metadata)
    )
    return ReceivedMessage(message_id, "h", body, "s", "d", number, 0, 1, 0)


STATE = LadderState("500", 0, (ErrorNote("500", 1),))


def judged(message: ReceivedMessage, stage: Stage) -> Deliverable:
    """As the worker sees it."""
    verdict = triage(message, stage, 0, 1_000)
    assert isinstance(verdict, Deliverable)
    return verdict


def test_on_the_first_queue_the_identity_is_the_queues_own() -> None:
    """What a message there says of itself is not Chaski's: nobody can name a message after another."""
    forged = Metadata(id="order-7", message_id="somebody-elses", sequence_number=1)
    task = judged(received(forged), Stage.FIRST)
    assert (task.message_id, task.sequence_number, task.id) == ("queue-id", 77, "order-7")


def test_a_hop_carries_identity_sequence_number_and_its_count() -> None:
    """And the next hop carries them on, whatever that rung's queue calls the message."""
    task = judged(received(Metadata(id="order-7")), Stage.FIRST)
    hop = rung_message("ns/r", task, Retry(FAST, 0, STATE))
    assert hop.deduplication_id == "queue-id:fast:0:1"
    envelope = read_envelope(hop.body)
    assert isinstance(envelope, Envelope)
    assert envelope.metadata is not None
    assert (envelope.metadata.message_id, envelope.metadata.sequence_number, envelope.metadata.hops) == (
        "queue-id",
        77,
        1,
    )

    again = judged(replace(received(None, message_id="rung-id", number=5), body=hop.body), Stage.RETRY)
    assert (again.message_id, again.sequence_number, again.id) == ("queue-id", 77, "order-7")
    assert rung_message("ns/r", again, Retry(FAST, 0, STATE)).deduplication_id == "queue-id:fast:0:2"


def test_a_rung_message_of_a_release_back_is_named_by_its_rung() -> None:
    """It carries no identity; from here on it keeps this one."""
    task = judged(received(Metadata(id="order-7", ladder=STATE), message_id="rung-id"), Stage.RETRY)
    assert task.message_id == "rung-id"
    hop = rung_message("ns/r", task, Retry(FAST, 0, STATE))
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
def test_a_target_sees_identity_label_and_what_a_replay_comes_from(
    metadata: Metadata | None, expected: dict[str, str]
) -> None:
    """A label that Chaski would not take is not sent on: queue content is not trusted."""
    task = judged(received(metadata), Stage.FIRST)
    request = HttpRequest("POST", "http://t0.example/", (), None)
    assert dict(extra_headers(task, request, 1)) == expected
