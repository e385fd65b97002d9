"""Marks of a dead letter beside its message: that it was stored, claimed by a replay, or replayed. Pure."""

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.table import TTL_ATTRIBUTE, Item, n, read_number, read_text, s
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter, ReplayClaim, ReplayMark
from chaski_core.ports import RETENTION_SECONDS

_OUTLIVES_SECONDS = RETENTION_SECONDS + 86_400


def died_item(dead_letter: DeadLetter, key: keys.Key, expires_at: int) -> Item:
    """The item that records, once per identity, that a message became a dead letter, and under which key.

    `expires_at`: of the dead letter, epoch seconds.
    """
    # It outlives its message by a day, so that a dead letter that was discarded, or whose retention was short, is not
    # stored again when a message that could not be deleted is redelivered.
    at_least = dead_letter.dead_lettered_at // 1000 + _OUTLIVES_SECONDS
    item: Item = {
        "pk": s(keys.died_pk(dead_letter.message_id)),
        "sk": s(keys.DIED_SK),
        "id": s(dead_letter.id),
        "letterPk": s(key.pk),
        "letterSk": s(key.sk),
        TTL_ATTRIBUTE: n(max(expires_at, at_least)),
    }
    return item if dead_letter.replay_of is None else item | {"replayOf": s(dead_letter.replay_of)}


def mark_text(mark: ReplayMark) -> str:
    """The value of a dead letter's attribute `replay`."""
    fields = [mark.run, mark.epoch, mark.at, *([mark.message_id] if mark.message_id else [])]
    return json_codec.dumps(fields).decode()


def read_mark(item: Item) -> ReplayMark | None:
    """The mark of a dead letter that was replayed; None where it was not."""
    if "replay" not in item:
        return None
    run, epoch, at, *more = json_codec.loads(read_text(item, "replay").encode())
    return ReplayMark(str(run), int(epoch), int(at), str(more[0]) if more else "")


def read_claim(item: Item) -> ReplayClaim | None:
    """The last claim of a dead letter by a replay run; None where there is none."""
    if "claimRun" not in item:
        return None
    return ReplayClaim(read_text(item, "claimRun"), read_number(item, "claimedAt"))


def key_of_died(died: Item) -> Item:
    """The primary key of the dead letter that a `died` item names."""
    return {"pk": died["letterPk"], "sk": died["letterSk"]}


def label_of_died(died: Item) -> str:
    """The producer's id of the message that a `died` item names."""
    return read_text(died, "id")
