"""What is noted of a dead letter beside its message: that it was kept, sent again, or is about to be. Pure."""

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.values import Item, n, read_number, read_text, s
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter, ReplayClaim, ReplayMark
from chaski_core.ports import RETENTION_SECONDS

TTL_ATTRIBUTE = "expiresAt"
_OUTLIVES_SECONDS = RETENTION_SECONDS + 86_400


def died_item(letter: DeadLetter, key: keys.Key, expires_at: int) -> Item:
    """What says, once for each identity, that a message was kept as a dead letter, and where.

    `expires_at`: of the dead letter, epoch seconds.
    """
    # It outlives its message by a day, so that a dead letter that was discarded, or whose retention was short, does
    # not come again with a message that could not be deleted.
    at_least = letter.dead_lettered_at // 1000 + _OUTLIVES_SECONDS
    item: Item = {
        "pk": s(keys.died_pk(letter.message_id)),
        "sk": s(keys.DIED_SK),
        "id": s(letter.id),
        "letterPk": s(key.pk),
        "letterSk": s(key.sk),
        TTL_ATTRIBUTE: n(max(expires_at, at_least)),
    }
    return item if letter.replay_of is None else item | {"replayOf": s(letter.replay_of)}


def mark_text(mark: ReplayMark) -> str:
    """What stands in a dead letter's attribute `replay`."""
    known = [mark.run, mark.epoch, mark.at, *([mark.message_id] if mark.message_id else [])]
    return json_codec.dumps(known).decode()


def read_mark(item: Item) -> ReplayMark | None:
    """Whether a dead letter was sent again."""
    if "replay" not in item:
        return None
    run, epoch, at, *more = json_codec.loads(read_text(item, "replay").encode())
    return ReplayMark(str(run), int(epoch), int(at), str(more[0]) if more else "")


def read_claim(item: Item) -> ReplayClaim | None:
    """Which run is about to send a dead letter again, or was."""
    if "claimRun" not in item:
        return None
    return ReplayClaim(read_text(item, "claimRun"), read_number(item, "claimedAt"))


def letter_of_died(died: Item) -> Item:
    """The primary key of the dead letter that a `died` item names."""
    return {"pk": died["letterPk"], "sk": died["letterSk"]}


def label_of_died(died: Item) -> str:
    """The producer's id of the message that a `died` item names."""
    return read_text(died, "id")
