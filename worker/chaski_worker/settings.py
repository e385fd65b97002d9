"""What can be set on a worker process, with unit, default and reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chaski_core.errors import FieldError, InvalidInputError

MIN_VISIBILITY_SECONDS = 2
MAX_VISIBILITY_SECONDS = 120
MAX_CONTENT_CHARACTERS = 8_192  # in a log line
_VISIBILITY = "CHASKI_VISIBILITY_SECONDS"
_CONTENT = "CHASKI_LOG_CONTENT_CHARS"
_USUAL_VISIBILITY_SECONDS = 60
_HOLD_SHARE = 0.9  # of the visibility: the most that an attempt can ask a fresh hold to last
_ROUND_TRIPS_SECONDS = 30  # for the calls around an attempt
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Limits and times of one worker process. The route says how to deliver; this says how to hold."""

    #: Seconds that a received message stays hidden without a sign of life; so long its subject waits after a crash. 0:
    #: the route's timeout and 30 more, from 60 to 120; no more, so that a hop repeated after a crash still falls into
    #: SQS's five minutes of deduplication. Set by CHASKI_VISIBILITY_SECONDS.
    visibility_seconds: int = 0

    #: Held messages are hidden anew when this share of the visibility is left.
    renew_below: float = 0.6

    #: Seconds that a long poll waits for a first message; 20 is the most that SQS takes.
    wait_seconds: float = 20.0

    #: Polls under way at once for each queue while it gives full batches; an idle queue always costs one long poll.
    polls_per_queue: int = 1

    #: Seconds between a poll that brought something, but less than a full batch, and the next one: messages that come
    #: one by one gather meanwhile, which saves calls and costs at most this much latency.
    poll_gap_seconds: float = 0.0

    #: Seconds that a delete waits for company; much less once the next message of its lane waits for it.
    delete_linger_seconds: float = 0.0

    #: Seconds that a hand-over to a rung waits for company. It holds up its subject, which has just failed, for so long.
    handover_linger_seconds: float = 0.0

    #: Seconds that a hold must outlive the request's timeout by, or it is extended before the attempt; a twelfth of the
    #: hold at most.
    hold_margin_seconds: float = 5.0

    #: Lanes held at once, as a multiple of the attempts that may run at once (`delivery.concurrencyPerPod`): the
    #: surplus keeps the slots busy while other lanes wait for a slow target's share.
    lanes_per_slot: int = 2

    #: Bytes of messages held at once, per consumer. Polling stops at the cap; what the polls under way bring, at most
    #: 10 messages each, comes on top.
    max_held_bytes: int = 64 * 1024 * 1024

    #: Seconds that a lane is put back for when its target's share of the slots is taken and no lane is free.
    park_seconds: int = 5

    #: A message older than this on receive goes to the dead letters unattempted: a day before the queue deletes it.
    #: Where the queue keeps messages until they are deleted (the embedded backend) none expires.
    expire_after_seconds: int = 13 * _DAY

    #: Seconds between two looks for such messages while the route's delivery is suspended; and after one that failed.
    sweep_interval_seconds: float = 3_600.0
    sweep_retry_seconds: float = 60.0

    #: Seconds that what is in flight gets to finish after a stop; 0 means the route's timeout and 10 more.
    drain_seconds: float = 0.0

    #: An older generation of queues is empty when so many polls in a row, over so many seconds, found nothing at all.
    #: The fence of its queues takes up to a minute to be in force, and SQS's counts lag behind by another; the embedded
    #: backend's are exact and need one poll.
    drained_polls: int = 5
    drained_over_seconds: float = 120.0

    #: Seconds between two readings of the queues' counts.
    observe_interval_seconds: float = 10.0

    #: Characters of a message's content in the log line of each attempt; 0: none, since contents are nobody's business
    #: but the target's. Set by CHASKI_LOG_CONTENT_CHARS.
    log_content_characters: int = 0


#: Where each call costs a round trip and money: fewer, fuller calls for a few hundredths of a second. An older generation is
#: watched for two minutes: the policy that denies sending to it takes one to be in force everywhere, the counts another.
SQS_SETTINGS = WorkerSettings(
    polls_per_queue=4,
    poll_gap_seconds=0.06,
    delete_linger_seconds=0.06,
    handover_linger_seconds=0.02,
    drained_over_seconds=120.0,
)


def visibility_for(timeout_seconds: int, settings: WorkerSettings) -> int:
    """Seconds to hide what is received: long enough for one attempt where 120 seconds allow it, or as it is set."""
    usual = max(_USUAL_VISIBILITY_SECONDS, timeout_seconds + _ROUND_TRIPS_SECONDS)
    return settings.visibility_seconds or min(MAX_VISIBILITY_SECONDS, usual)


def poll_seconds_for(visibility_seconds: int, settings: WorkerSettings) -> float:
    """Seconds that a long poll waits: a third of the hold at most, since a hold is counted from the poll's start."""
    return min(settings.wait_seconds, visibility_seconds / 3)


def needed_hold(timeout_seconds: int, visibility_seconds: int, settings: WorkerSettings) -> float:
    """Seconds that a hold must last when an attempt begins; the heartbeat covers what is beyond a fresh hold."""
    margin = min(settings.hold_margin_seconds, visibility_seconds / 12)
    return min(timeout_seconds + margin, visibility_seconds * _HOLD_SHARE)


def from_environment(environment: Mapping[str, str], settings: WorkerSettings = SQS_SETTINGS) -> WorkerSettings:
    """The settings, with what the process's environment sets.

    Raises:
        InvalidInputError: a value that can't be.
    """
    visibility = _whole(environment, _VISIBILITY, MIN_VISIBILITY_SECONDS, MAX_VISIBILITY_SECONDS)
    content = _whole(environment, _CONTENT, 0, MAX_CONTENT_CHARACTERS)
    if visibility is not None:
        settings = replace(settings, visibility_seconds=visibility)
    return settings if content is None else replace(settings, log_content_characters=content)


def _whole(environment: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    given = environment.get(name)
    if given is None:
        return None
    if not given.isdecimal() or not least <= int(given) <= most:
        raise InvalidInputError([FieldError(name, f'"{given}" is no whole number from {least} to {most}')])
    return int(given)
