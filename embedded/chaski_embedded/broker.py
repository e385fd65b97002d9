"""The broker: FIFO queues, dead letters, attempt records and the journal of one data folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from chaski_core.ports import Clock

from chaski_embedded.queue import EmbeddedQueue


class EmbeddedBroker:
    """Owns a data folder. Queues are named by URLs of the form `embedded://<queue name>`.

    Every call raises `BackendUnavailableError` where the disk does not take what is written, and
    `BackendRejectedError` with SQS's code (`QueueDoesNotExist`, `InvalidAttributeValue`, ...) where it refuses.
    """

    @classmethod
    async def open(cls, folder: str | Path, clock: Clock) -> Self:
        """Opens the folder, made if it is not there. `BackendRejectedError`: another process owns it, or it is newer."""
        raise NotImplementedError

    async def close(self) -> None:
        """Finishes what was asked for, then lets go of the folder."""

    async def release_in_flight(self) -> int:
        """Makes every held message visible again; returns how many. For a process that is alone on the folder."""
        raise NotImplementedError

    def queue(self, url: str) -> EmbeddedQueue:
        """The queue of that URL. Makes no call."""
        raise NotImplementedError

    async def create_queue(self, name: str, attributes: Mapping[str, str], tags: Mapping[str, str] | None = None) -> str:
        """Makes a FIFO queue, or finds one with the very same attributes; its URL."""
        raise NotImplementedError

    async def queue_url(self, name: str) -> str:
        """The URL of a queue that exists."""
        raise NotImplementedError

    async def list_queues(self, prefix: str = "") -> Sequence[str]:
        """URLs of the queues whose names begin so, by name."""
        raise NotImplementedError

    async def attributes(self, url: str) -> Mapping[str, str]:
        """Every attribute, `Approximate*`, timestamps and `QueueArn` included."""
        raise NotImplementedError

    async def set_attributes(self, url: str, attributes: Mapping[str, str]) -> None:
        """Changes the attributes given, keeps the others."""

    async def delete_queue(self, url: str) -> None:
        """Deletes a queue with its messages."""

    async def purge_queue(self, url: str) -> None:
        """Deletes every message of a queue; once in 60 seconds."""

    async def tag(self, url: str, tags: Mapping[str, str]) -> None:
        """Adds or replaces tags."""

    async def untag(self, url: str, names: Sequence[str]) -> None:
        """Drops tags."""

    async def list_tags(self, url: str) -> Mapping[str, str]:
        """The tags of a queue."""
        raise NotImplementedError
