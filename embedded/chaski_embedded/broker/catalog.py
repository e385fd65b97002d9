"""Queues of a data folder within a unit of work: created, changed, described, deleted."""

from collections.abc import Mapping, Sequence

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_embedded.broker.unit_of_work import HostedQueue, UnitOfWork
from chaski_embedded.fifo import queue_attributes

RECREATE_AFTER_MS = 60_000  # API_CreateQueue, QueueDeletedRecently
PURGE_EVERY_MS = 60_000  # API_PurgeQueue


def create(work: UnitOfWork, name: str, attributes: Mapping[str, str], tags: Mapping[str, str]) -> HostedQueue:
    """Creates a queue, or returns the existing one if the given attributes have the same values.

    Raises:
        BackendRejectedError: QueueNameExists, QueueDeletedRecently, or an invalid name or attribute.
    """
    attributes = queue_attributes.normalize(attributes)
    queue_attributes.check_new_queue(name, attributes)
    queue_attributes.check_settings(attributes, {})
    existing = work.queues.get(name)
    if existing is not None:
        queue_attributes.check_same(attributes, existing.settings)
        return existing
    row = work.sql().execute("SELECT deleted_at FROM deleted_queues WHERE name = ?", (name,)).fetchone()
    if row is not None and 0 <= work.wall - row[0] < RECREATE_AFTER_MS:
        raise BackendRejectedError(
            "QueueDeletedRecently",
            "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
        )
    return insert(work, name, attributes, tags)


def insert(
    work: UnitOfWork, name: str, attributes: Mapping[str, str], tags: Mapping[str, str], *, keeps_messages: bool = False
) -> HostedQueue:
    """Creates a queue that does not exist; attributes are not validated. `keeps_messages`: no message expires by age."""
    settings = queue_attributes.merge_settings(attributes, {})
    per_group = settings.get("DeduplicationScope") == "messageGroup"
    connection = work.sql()
    connection.execute("DELETE FROM deleted_queues WHERE name = ?", (name,))
    cursor = connection.execute(
        "INSERT INTO queues (name, settings, tags, dedup_per_group, keeps, created_at, modified_at, purged_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
        (name, _text(settings), _text(tags), per_group, keeps_messages, work.wall, work.wall),
    )
    number = cursor.lastrowid or 0
    queue = HostedQueue(
        number, name, settings, dict(tags), per_group, work.wall, work.wall, 0, keeps_messages, work.groups_of
    )
    work.queues[name] = queue
    return work.queue(name)


def attributes_of(work: UnitOfWork, name: str) -> dict[str, str]:
    """Every attribute of a queue. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = work.queue(name)
    counts = queue.fifo.counts(work.now)
    settings = dict(queue.settings)
    if "KmsMasterKeyId" not in settings:  # AWS returns no period without a key
        settings.pop("KmsDataKeyReusePeriodSeconds", None)
    return {
        **queue_attributes.DEFAULTS,
        **settings,
        "ApproximateNumberOfMessages": str(counts.visible),
        "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
        "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
        "CreatedTimestamp": str(queue.created_at // 1000),
        "LastModifiedTimestamp": str(queue.modified_at // 1000),
        "QueueArn": queue_attributes.queue_arn(name),
    }


def set_attributes(work: UnitOfWork, name: str, attributes: Mapping[str, str]) -> None:
    """Sets attributes; others stay.

    Raises:
        BackendRejectedError: QueueDoesNotExist, or an invalid attribute.
    """
    queue = work.queue(name)
    attributes = queue_attributes.normalize(attributes)
    queue_attributes.check_settings(attributes, queue.settings)
    settings = queue_attributes.merge_settings(attributes, queue.settings)
    work.sql().execute(
        "UPDATE queues SET settings = ?, modified_at = ? WHERE id = ?", (_text(settings), work.wall, queue.id)
    )
    queue.settings, queue.modified_at = settings, work.wall
    queue.read_settings()
    queue.fifo.configure(queue.rules(), work.now)


def delete(work: UnitOfWork, name: str) -> None:
    """Deletes a queue with its messages. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = work.queue(name)
    _drop_messages(work, queue)
    connection = work.sql()
    connection.execute("DELETE FROM queues WHERE id = ?", (queue.id,))
    connection.execute("INSERT OR REPLACE INTO deleted_queues VALUES (?, ?)", (name, work.wall))
    del work.queues[name]
    work.touched[name] = None


def purge(work: UnitOfWork, name: str) -> None:
    """Deletes every message of a queue. Raises BackendRejectedError (QueueDoesNotExist, PurgeQueueInProgress)."""
    queue = work.queue(name)
    if 0 <= work.wall - queue.purged_at < PURGE_EVERY_MS:
        raise BackendRejectedError(
            "PurgeQueueInProgress", f"Only one PurgeQueue operation on {name} is allowed every 60 seconds."
        )
    _drop_messages(work, queue)
    work.sql().execute("UPDATE queues SET purged_at = ? WHERE id = ?", (work.wall, queue.id))
    queue.purged_at = work.wall
    queue.forget_messages()


def set_tags(work: UnitOfWork, name: str, tags: Mapping[str, str], removed: Sequence[str] = ()) -> None:
    """Adds or replaces tags, and removes some. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = work.queue(name)
    merged = {key: value for key, value in {**queue.tags, **tags}.items() if key not in removed}
    work.sql().execute("UPDATE queues SET tags = ? WHERE id = ?", (_text(merged), queue.id))
    queue.tags = merged


def _drop_messages(work: UnitOfWork, queue: HostedQueue) -> None:
    connection = work.flushed_sql()
    connection.execute(
        "DELETE FROM bodies WHERE sequence IN (SELECT sequence FROM messages WHERE queue = ?)", (queue.id,)
    )
    connection.execute("DELETE FROM messages WHERE queue = ?", (queue.id,))


def _text(values: Mapping[str, str]) -> str:
    return orjson.dumps(values).decode()
