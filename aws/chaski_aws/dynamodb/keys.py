"""Keys of the items in a route's table. Pure.

    pk                          sk                        item
    <UTC hour>#<shard>          <ms>#<identity>#<other>   a dead letter; shard = murmur3(subject) mod 8
    died#<identity>             died                      records that a message became a dead letter, and its key
    part#<pk>#<sk>#<digest>     <number>                  a part of a message that is too large for its dead letter's item
    hour                        <UTC hour>#<shard>        records that this partition was written to
    attempt#<SQS MessageId>     attempt                   Strict: attempt record of the head of a subject
    climb#<SQS MessageId>       <number>                  Strict: errors of that record from this one on (records/attempts.py)
    control#subjects            message#<identity>        what people decided about a message
    control#subjects            hold#<subject>            what people decided about a subject
    lease#<target>#<host>       lease                     how workers share the limits of a host, or of a rule (no host)

An attempt record of a hidden head is in the index by id as well, under `head#<shard>`, which is the id of no message.

Hour and milliseconds are those at which the message became a dead letter; its `died` item, written in the same
transaction, allows that once per identity. Releases before identities used the producer's id and the time at which the
message was sent instead, and wrote no `died` item; their dead letters are read by the same keys.

`<other>` is a hash of subject and route. Keys are ASCII only, so that DynamoDB's byte order is the order of the text.

Reserved prefixes of partition keys: `history#` (ends of messages), `outbox#` (events).

Limits: partition key 2,048 bytes, sort key 1,024 bytes, neither empty, the same for indexes:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from chaski_core.dead_letter import DeadLetterFilter, DeadLetterKey
from chaski_core.message.identity import is_label
from chaski_core.message.subject import partition
from chaski_core.timestamps import timestamp

SHARDS = 8
HOURS_PK = "hour"
ATTEMPT_SK = "attempt"
DIED_SK = "died"
CONTROLS_PK = "control#subjects"
LEASE_SK = "lease"
_MS_DIGITS = 15
_NEWEST_MS = 253_402_300_799_999  # the end of the year 9999
_HOUR_CHARACTERS = len("2026-11-24T05")
_MAX_TOKEN_BYTES = 1_024
_AFTER_EVERY_KEY = "~"  # sorts after digits


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The primary key of a dead letter. Sorts oldest first."""

    sk: str
    pk: str


def dead_letter_key(key: DeadLetterKey) -> Key:
    """The primary key of a dead letter, unique in the route."""
    other = _digest(f"{key.subject}\0{key.route}")[:16]
    message_id = key.message_id if is_label(key.message_id) else f"sha256:{_digest(key.message_id)}"
    pk = f"{hour_of(key.dead_lettered_at)}#{shard_of(key.subject)}"
    return Key(f"{key.dead_lettered_at:0{_MS_DIGITS}d}#{message_id}#{other}", pk)


def shard_of(subject: str) -> int:
    """0 to 7: spreads the writes of an hour and keeps a subject's dead letters in one partition."""
    return partition(subject, SHARDS)


def hour_of(moment_ms: int) -> str:
    """The UTC hour as text: `2026-11-24T05`."""
    return timestamp(moment_ms)[:_HOUR_CHARACTERS]


def parts_pk(pk: str, sk: str, digest: str) -> str:
    """Partition of the parts of a message; `digest` is the message's, so that other contents have another partition."""
    return f"part#{pk}#{sk}#{digest}"


def died_pk(message_id: str) -> str:
    """Partition of the item that records that a message became a dead letter; `message_id` is its identity."""
    return f"died#{token(message_id)}"


def attempt_pk(message_id: str) -> str:
    """Partition of an attempt record; `message_id` is SQS's."""
    return f"attempt#{token(message_id)}"


def climb_pk(message_id: str) -> str:
    """Partition of the errors that an attempt record does not hold itself; `message_id` is SQS's."""
    return f"climb#{token(message_id)}"


def head_token(message_id: str) -> str:
    """Partition, in the index by id, of the attempt record of a hidden head; `message_id` is SQS's."""
    return f"head#{partition(message_id, SHARDS)}"


HEAD_TOKENS = tuple(f"head#{shard}" for shard in range(SHARDS))


def control_sk(message_id: str, subject: str) -> str:
    """Sort key of a control record: about a message, or where that is "", about a subject."""
    text = f"message#{message_id}" if message_id else f"hold#{subject}"
    return text if len(text.encode()) <= _MAX_TOKEN_BYTES else f"{text.partition('#')[0]}#sha256:{_digest(text)}"


def lease_pk(target: str, host: str) -> str:
    """Partition of the leases of a limit; `host` is "" where it is that of a rule."""
    return f"lease#{token(f'{target}#{host}')}"


def target_pk(target: str, shard: int) -> str:
    """Partition in the index by target. In shards: one failing target is the normal case and would be a hot one."""
    return f"{token(target)}#{shard}"


def target_hour_pk(target: str, hour_and_shard: str) -> str:
    """The same for dead letters of the release before, which split a target by hours too."""
    return f"{token(target)}#{hour_and_shard}"


def token(text: str) -> str:
    """A text as part of a key: itself, or its hash where it is empty or too long for a key."""
    return text if 0 < len(text.encode()) <= _MAX_TOKEN_BYTES else f"sha256:{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Window:
    """A range of sort keys, both ends included, as `BETWEEN` takes it."""

    first: str
    last: str

    @property
    def empty(self) -> bool:
        """Whether no key is in the range. DynamoDB refuses a `BETWEEN` of an empty range."""
        return self.first > self.last


def dead_letters_window(wanted: DeadLetterFilter) -> Window:
    """Sort keys of dead letters from `since` (inclusive) to `until` (exclusive)."""
    return _window(wanted, lambda moment: f"{moment:0{_MS_DIGITS}d}")


def hours_window(wanted: DeadLetterFilter) -> Window:
    """Sort keys of the hours that a search covers."""
    return _window(wanted, hour_of)


def hour_of_partition(hour_and_shard: str) -> str:
    """The hour in `<hour>#<shard>`."""
    return hour_and_shard[:_HOUR_CHARACTERS]


def _window(wanted: DeadLetterFilter, text: Callable[[int], str]) -> Window:
    since = min(max(0, wanted.since or 0), _NEWEST_MS)
    if wanted.until is None:
        return Window(text(since), _AFTER_EVERY_KEY)
    if wanted.until <= since:
        return Window(_AFTER_EVERY_KEY, "")
    return Window(text(since), text(min(wanted.until - 1, _NEWEST_MS)) + _AFTER_EVERY_KEY)
