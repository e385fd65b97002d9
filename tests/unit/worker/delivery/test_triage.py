"""Whether a received message can be attempted, and its identity."""

import pytest

from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.retry.ladder import LadderState, Reason
from chaski_worker.delivery.triage import AgeLimits, Deliverable, Stage, Undeliverable, triage
from support.worker.harness import received_message

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("body", "stage", "reason"),
    [
        (b"garbage", Stage.FIRST, Reason.MALFORMED),
        (b"[1]", Stage.FIRST, Reason.MALFORMED),
        (b'{"subject":"s"}', Stage.FIRST, Reason.MALFORMED),
        (b"garbage", Stage.RETRY, Reason.MALFORMED),
        (b'{"subject":"s","body":{}}', Stage.RETRY, Reason.NO_METADATA),
        (b'{"subject":"s","body":{},"metadata":{"id":"x"}}', Stage.RETRY, Reason.NO_METADATA),
        (b'{"subject":"s","body":{},"metadata":{"ladder":"?"}}', Stage.RETRY, Reason.NO_METADATA),
    ],
)
def test_an_undeliverable_message_has_a_reason(body: bytes, stage: Stage, reason: Reason) -> None:
    """Each kind of undeliverable message has its own reason."""
    verdict = triage(received_message(body), stage, 0, AgeLimits(expiry=13 * 86_400))
    assert isinstance(verdict, Undeliverable)
    assert reason == verdict.reason


def test_a_message_of_the_predecessor_is_attempted_with_the_queues_id() -> None:
    """Without metadata the id is the queue's MessageId, which stays the same when the message is redelivered."""
    verdict = triage(
        received_message(b'{"subject":"s","body":{"url":"u"}}'), Stage.FIRST, 0, AgeLimits(expiry=13 * 86_400)
    )
    assert isinstance(verdict, Deliverable)
    assert (verdict.id, verdict.ladder) == ("mid", None)


def test_an_invalid_id_is_replaced_by_the_queues_message_id() -> None:
    """An invalid id on the queue (written by another program) must not break a deduplication id."""
    body = write_envelope({"subject": "s", "body": {}}, Metadata(id="a b" * 50))
    verdict = triage(received_message(body), Stage.FIRST, 0, AgeLimits(expiry=13 * 86_400))
    assert isinstance(verdict, Deliverable)
    assert verdict.id == "mid"


@pytest.mark.parametrize(("age_ms", "expired"), [(13 * DAY_MS, False), (13 * DAY_MS + 1, True)])
def test_expiry_begins_after_13_days(age_ms: int, *, expired: bool) -> None:
    """A day before the queue would delete it."""
    verdict = triage(
        received_message(b'{"subject":"s","body":{}}', sent_at=1_000),
        Stage.FIRST,
        1_000 + age_ms,
        AgeLimits(expiry=13 * 86_400),
    )
    assert expired == (isinstance(verdict, Undeliverable) and verdict.reason is Reason.EXPIRED)


@pytest.mark.promise(2)
def test_nothing_expires_on_a_queue_without_retention() -> None:
    """However old a message is, or seems to be by a wrong clock."""
    verdict = triage(
        received_message(b'{"subject":"s","body":{}}', sent_at=0), Stage.FIRST, 4_000 * DAY_MS, AgeLimits()
    )
    assert isinstance(verdict, Deliverable)


def test_a_first_attempt_ignores_the_messages_ladder_state() -> None:
    """Only metadata on a rung's queue is trusted."""
    body = write_envelope({"subject": "s", "body": {}}, Metadata(id="i", ladder=LadderState("404", 1, ())))
    verdict = triage(received_message(body), Stage.FIRST, 0, AgeLimits(expiry=13 * 86_400))
    assert isinstance(verdict, Deliverable)
    assert verdict.ladder is None


def test_age_counts_from_the_first_queue() -> None:
    """On a rung from the time in the metadata, however often the message hopped; a replay is a new message."""
    limits = AgeLimits(route=60)
    document = {"subject": "s", "body": {}}
    metadata = Metadata(id="i", ladder=LadderState("404", 1, ()), accepted_at=1_000, queued_at=5_000)
    hop = received_message(write_envelope(document, metadata), sent_at=64_000)
    assert isinstance(triage(hop, Stage.RETRY, 65_000, limits), Deliverable)
    verdict = triage(hop, Stage.RETRY, 65_001, limits)
    assert isinstance(verdict, Undeliverable)
    assert (verdict.reason, verdict.ladder) == (Reason.TOO_OLD, metadata.ladder)

    # On its first queue by that queue's time: metadata there is the producer's, or that of the message that is replayed.
    first = received_message(write_envelope(document, metadata), sent_at=64_000)
    verdict = triage(first, Stage.FIRST, 124_000, limits)
    assert isinstance(verdict, Deliverable)
    assert verdict.queued_at == 64_000
    assert isinstance(triage(first, Stage.FIRST, 124_001, limits), Undeliverable)


@pytest.mark.promise(5)
@pytest.mark.parametrize(("replay_of", "queued_at"), [(None, 1_000), ("another-message", 64_000)])
def test_the_age_of_a_rung_message_of_a_release_back(replay_of: str | None, queued_at: int) -> None:
    """It has no time of its first queue: its acceptance counts, or, for a replay, the rung's queue."""
    metadata = Metadata(id="i", ladder=LadderState("404", 1, ()), accepted_at=1_000, replay_of=replay_of)
    message = received_message(write_envelope({"subject": "s", "body": {}}, metadata), sent_at=64_000)
    verdict = triage(message, Stage.RETRY, 64_000, AgeLimits(route=100))
    assert isinstance(verdict, Deliverable)
    assert verdict.queued_at == queued_at
