"""The queues of a data folder within the engine: made, changed, described, deleted. Rules of attributes: sqs_queues.py."""

from collections.abc import Mapping, Sequence

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_embedded.broker.unit_of_work import HostedQueue, UnitOfWork
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.sqs_api import queues

RECREATE_AFTER_MS = 60_000  # API_CreateQueue, QueueDeletedRecently
PURGE_EVERY_MS = 60_000  # API_PurgeQueue


def create(session: UnitOfWork, name: str, attributes: Mapping[str, str], tags: Mapping[str, str]) -> HostedQueue:
    """Makes a queue, or finds the one of that name with the same values for all attributes given.

    Raises:
        BackendRejectedError: QueueNameExists, QueueDeletedRecently, or what `sqs_queues` finds wrong.
    """
    attributes = queues.as_kept(attributes)
    queues.check_new_queue(name, attributes)
    queues.check_settings(attributes, {})
    existing = session.queues.get(name)
    if existing is not None:
        queues.check_same(attributes, existing.settings)
        return existing
    row = session.sql().execute("SELECT deleted_at FROM deleted_queues WHERE name = ?", (name,)).fetchone()
    if row is not None and 0 <= session.wall - row[0] < RECREATE_AFTER_MS:
        raise BackendRejectedError(
            "QueueDeletedRecently",
            "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
        )
    return make(session, name, attributes, tags)


def make(
    session: UnitOfWork, name: str, attributes: Mapping[str, str], tags: Mapping[str, str], *, keeps: bool = False
) -> HostedQueue:
    """Makes a queue that does not exist; attributes are not judged. `keeps`: it deletes no message by its age."""
    settings = queues.merge_settings(attributes, {})
    per_group = settings.get("DeduplicationScope") == "messageGroup"
    connection = session.sql()
    connection.execute("DELETE FROM deleted_queues WHERE name = ?", (name,))
    cursor = connection.execute(
        "INSERT INTO queues (name, settings, tags, dedup_per_group, keeps, created_at, modified_at, purged_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
        (name, _text(settings), _text(tags), per_group, keeps, session.wall, session.wall),
    )
    number = cursor.lastrowid or 0
    queue = HostedQueue(number, name, settings, dict(tags), per_group, session.wall, session.wall, 0, keeps)
    session.queues[name] = queue
    return session.queue(name)


def attributes_of(session: UnitOfWork, name: str) -> dict[str, str]:
    """Every attribute of a queue. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = session.queue(name)
    counts = queue.fifo.counts(session.now)
    settings = dict(queue.settings)
    if "KmsMasterKeyId" not in settings:  # AWS returns no period where there is no key
        settings.pop("KmsDataKeyReusePeriodSeconds", None)
    return {
        **queues.DEFAULTS,
        **settings,
        "ApproximateNumberOfMessages": str(counts.visible),
        "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
        "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
        "CreatedTimestamp": str(queue.created_at // 1000),
        "LastModifiedTimestamp": str(queue.modified_at // 1000),
        "QueueArn": queues.queue_arn(name),
    }


def set_attributes(session: UnitOfWork, name: str, attributes: Mapping[str, str]) -> None:
    """Changes the attributes given.

    Raises:
        BackendRejectedError: QueueDoesNotExist, or what `sqs_queues` finds wrong.
    """
    queue = session.queue(name)
    attributes = queues.as_kept(attributes)
    queues.check_settings(attributes, queue.settings)
    settings = queues.merge_settings(attributes, queue.settings)
    session.sql().execute(
        "UPDATE queues SET settings = ?, modified_at = ? WHERE id = ?", (_text(settings), session.wall, queue.id)
    )
    queue.settings, queue.modified_at = settings, session.wall
    queue.read_settings()
    queue.fifo.configure(queue.rules(), session.now)


def delete(session: UnitOfWork, name: str) -> None:
    """Deletes a queue with its messages. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = session.queue(name)
    _drop_messages(session, queue)
    connection = session.sql()
    connection.execute("DELETE FROM queues WHERE id = ?", (queue.id,))
    connection.execute("INSERT OR REPLACE INTO deleted_queues VALUES (?, ?)", (name, session.wall))
    del session.queues[name]
    session.touched[name] = None


def purge(session: UnitOfWork, name: str) -> None:
    """Deletes every message of a queue. Raises BackendRejectedError (QueueDoesNotExist, PurgeQueueInProgress)."""
    queue = session.queue(name)
    if 0 <= session.wall - queue.purged_at < PURGE_EVERY_MS:
        raise BackendRejectedError(
            "PurgeQueueInProgress", f"Only one PurgeQueue operation on {name} is allowed every 60 seconds."
        )
    _drop_messages(session, queue)
    session.sql().execute("UPDATE queues SET purged_at = ? WHERE id = ?", (session.wall, queue.id))
    queue.purged_at = session.wall
    queue.fifo = FifoQueue(queue.rules())


def set_tags(session: UnitOfWork, name: str, tags: Mapping[str, str], dropped: Sequence[str] = ()) -> None:
    """Adds or replaces tags, and drops some. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = session.queue(name)
    merged = {key: value for key, value in {**queue.tags, **tags}.items() if key not in dropped}
    session.sql().execute("UPDATE queues SET tags = ? WHERE id = ?", (_text(merged), queue.id))
    queue.tags = merged


def _drop_messages(session: UnitOfWork, queue: HostedQueue) -> None:
    connection = session.settled_sql()
    connection.execute(
        "DELETE FROM bodies WHERE sequence IN (SELECT sequence FROM messages WHERE queue = ?)", (queue.id,)
    )
    connection.execute("DELETE FROM messages WHERE queue = ?", (queue.id,))


def _text(values: Mapping[str, str]) -> str:
    return orjson.dumps(values).decode()
