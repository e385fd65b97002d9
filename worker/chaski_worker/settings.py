"""Settings of a worker process, with unit, default and reason."""

from dataclasses import dataclass, replace

from chaski_core.retry.backoff import Backoff

MIN_VISIBILITY_SECONDS = 2
MAX_VISIBILITY_SECONDS = 120
MAX_CONTENT_CHARACTERS = 8_192  # in a log line
_USUAL_VISIBILITY_SECONDS = 60
_MAX_NEEDED_SHARE = 0.9  # of the visibility timeout: extending takes time too
_ROUND_TRIPS_SECONDS = 30  # for the calls around an attempt
_DAY = 86_400

#: Before a call of the queue or the store is made again that the backend could not serve.
BACKEND_BACKOFF = Backoff(first_seconds=0.1, longest_seconds=20.0)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Limits and times of one worker process. The route defines how to deliver, these how to receive and hold."""

    #: Visibility timeout of received messages, extended by the heartbeat; after a crash their subjects wait for it. 0:
    #: the route's timeout and 30 more, from 60 to 120 seconds; no more, so that a hop repeated after a crash is still
    #: within SQS's five minutes of deduplication.
    visibility_seconds: int = 0

    #: The visibility of held messages is extended when this share of it is left.
    renew_below: float = 0.6

    #: Seconds that a long poll waits for a first message; 20 is the most that SQS takes.
    wait_seconds: float = 20.0

    #: Polls at once for each queue while it returns full batches; an idle queue always costs one long poll.
    polls_per_queue: int = 1

    #: Seconds between a poll that returned less than a full batch and the next one: single messages gather meanwhile,
    #: which saves calls and costs at most this much latency.
    poll_gap_seconds: float = 0.0

    #: How long to hold a delete so that it can share a batch; shortened when the lane is blocked on it.
    delete_linger_seconds: float = 0.0

    #: How long to hold a hand-over to a rung so that it can share a batch. Its subject, which has just failed, waits.
    handover_linger_seconds: float = 0.0

    #: The visibility of a lane must exceed the request's timeout by this, or it is extended before the attempt; at most
    #: a twelfth of the visibility timeout.
    visibility_margin_seconds: float = 5.0

    #: Lanes held at once, as a multiple of the attempts that may run at once (`delivery.concurrencyPerPod`): the
    #: surplus keeps the slots busy while other lanes wait for a slow target's share.
    lanes_per_slot: int = 2

    #: Bytes of messages held at once, per consumer. Polling stops at the limit; the polls under way may add 10 messages
    #: each.
    max_held_bytes: int = 64 * 1024 * 1024

    #: Seconds that a lane is parked when its target's share of the slots is taken and no lane is free.
    park_seconds: int = 5

    #: Longest time in seconds that a head is hidden that waits for a held host; then it is received and judged again. Longer
    #: steps cost fewer calls, and let it wait for longer after the hold has ended.
    hold_step_seconds: int = 300

    #: Seconds between two reads of what people decided about subjects, while messages are received. On DynamoDB a read costs
    #: one read unit: 17,280 a day for a process that is busy all the time.
    control_interval_seconds: float = 5.0

    #: Longest time in seconds that the head of a held subject is hidden before it is received and judged again.
    subject_step_seconds: int = 300

    #: A message older than this on receive becomes a dead letter without an attempt: a day before the queue deletes it.
    #: Queues without a retention (the embedded backend) delete no message by age.
    expire_after_seconds: int = 13 * _DAY

    #: Seconds between two passes for such messages while a route's delivery is suspended; and after a pass that failed.
    expiry_interval_seconds: float = 3_600.0
    expiry_retry_seconds: float = 60.0

    #: Drain timeout: seconds that lanes in flight get to finish after a stop; 0: the route's timeout and 10 more.
    drain_seconds: float = 0.0

    #: An older generation of queues is empty when this number of counts in a row, over this number of seconds, was zero.
    #: The block on sends to its queues takes up to a minute to be in force, and SQS's counts lag behind by another; the
    #: embedded backend's are exact and need one count.
    drained_polls: int = 5
    drained_over_seconds: float = 120.0

    #: Seconds between two readings of the queues' counts.
    observe_interval_seconds: float = 10.0

    #: Whether they are read all the time. Beside an operator, which reads them for all Pods together, only while a host is
    #: held: a backlog limit ends breaker holds.
    count_queues: bool = True

    #: Characters of a message's content in the log line of each attempt; 0: none, because contents are private to the
    #: target.
    log_content_characters: int = 0


#: On SQS each call costs a round trip and money: fewer, fuller calls for a few hundredths of a second. An older generation
#: is counted for two minutes: the policy that denies sending to it takes one to be in force everywhere, the counts lag by
#: another.
SQS_SETTINGS = WorkerSettings(
    polls_per_queue=4,
    poll_gap_seconds=0.06,
    delete_linger_seconds=0.06,
    handover_linger_seconds=0.02,
    drained_over_seconds=120.0,
    observe_interval_seconds=30.0,
)


def visibility_for(timeout_seconds: int, settings: WorkerSettings) -> int:
    """The visibility timeout in seconds: as set, or long enough for one attempt where 120 seconds allow it."""
    usual = max(_USUAL_VISIBILITY_SECONDS, timeout_seconds + _ROUND_TRIPS_SECONDS)
    return settings.visibility_seconds or min(MAX_VISIBILITY_SECONDS, usual)


def poll_seconds_for(visibility_seconds: int, settings: WorkerSettings) -> float:
    """Seconds that a long poll waits: at most a third of the visibility timeout, which is counted from the poll's start."""
    return min(settings.wait_seconds, visibility_seconds / 3)


def needed_visibility(timeout_seconds: int, visibility_seconds: int, settings: WorkerSettings) -> float:
    """Seconds that a lane must stay hidden when an attempt begins; the heartbeat covers longer attempts."""
    margin = min(settings.visibility_margin_seconds, visibility_seconds / 12)
    return min(timeout_seconds + margin, visibility_seconds * _MAX_NEEDED_SHARE)


@dataclass(frozen=True, slots=True)
class WorkerOverrides:
    """Settings that flags of a command change; None keeps a value. Within the bounds above."""

    visibility_seconds: int | None = None
    log_content_characters: int | None = None
    count_queues: bool | None = None


NO_OVERRIDES = WorkerOverrides()


def with_overrides(settings: WorkerSettings, overrides: WorkerOverrides) -> WorkerSettings:
    """The settings with the values that are given."""
    if overrides.visibility_seconds is not None:
        settings = replace(settings, visibility_seconds=overrides.visibility_seconds)
    if overrides.log_content_characters is not None:
        settings = replace(settings, log_content_characters=overrides.log_content_characters)
    if overrides.count_queues is not None:
        settings = replace(settings, count_queues=overrides.count_queues)
    return settings
