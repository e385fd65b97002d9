"""A data folder that another process owns: read directly, changed by that process's control API (`server.py`)."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage, Sent, VisibilityChange
from chaski_core.retry.control import ControlRecord
from chaski_embedded.control.address import SocketAddress
from chaski_embedded.storage import schema
from chaski_embedded.store import DeadLetterReader, RecordReader

_TIMEOUT_SECONDS = 60.0
_URL = "http://localhost/"  # the connector dials the socket whatever the host is
_SENT_FIELDS = 2


class RemoteOwner:
    """The process that owns a data folder. Opened by `find_owner`; the caller closes it."""

    def __init__(self, folder: Path) -> None:
        """Prepares connections. `OSError`: there is no control folder, or its path is too long for a socket."""
        file = folder / schema.FILE_NAME
        self.dead_letters = RemoteDeadLetters(self, file)
        self.attempt_records = RecordReader(file)
        self.control_records = RemoteControlRecords(self)
        self._address = SocketAddress(folder)
        connector = aiohttp.UnixConnector(path=self._address.path)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS))

    def queue(self, url: str) -> "RemoteQueue":
        """The queue with a URL, for sending and for changes of visibility. Makes no call."""
        return RemoteQueue(self, url)

    async def request(self, command: Mapping[str, Any]) -> Any:
        """Executes a command by the control API; its result.

        Raises:
            BackendUnavailableError: the owner has ended, or is unavailable.
            BackendRejectedError: the owner refused the command.
        """
        try:
            async with self._http.post(_URL, data=orjson.dumps(command)) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BackendUnavailableError(f"the process that owns the folder does not respond: {error}") from error
        document = orjson.loads(body)
        if "error" not in document:
            return document["result"]
        details = document["error"]
        if status == 503:
            raise BackendUnavailableError(str(details["reason"]))
        raise BackendRejectedError(str(details["code"]), str(details["reason"]))

    async def close(self) -> None:
        """Closes the connection."""
        await self._http.close()
        self._address.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


class RemoteDeadLetters(DeadLetterReader):
    """Implements `chaski_core.ports.DeadLetterStore` except `put`, which only workers use."""

    def __init__(self, owner: RemoteOwner, file: Path) -> None:
        super().__init__(file)
        self._owner = owner

    async def put(self, dead_letter: DeadLetter) -> None:
        """Not supported."""
        raise BackendRejectedError("UnsupportedOperation", f"{dead_letter.id}: only workers store dead letters")

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to replay them."""
        marked = [[_values(key), None if mark is None else _mark_values(mark)] for key, mark in wanted]
        results = await self._owner.request({"action": "claim", "wanted": marked, "claim": [claim.run, claim.at]})
        return [Claimed(each) for each in results]

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Marks dead letters as replayed."""
        sent = [[_values(key), _mark_values(mark)] for key, mark in marks]
        await self._owner.request({"action": "mark", "marks": sent})

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters permanently."""
        await self._owner.request({"action": "discard", "keys": [_values(key) for key in keys]})


class RemoteControlRecords:
    """Implements `chaski_core.ports.ControlRecords`."""

    def __init__(self, owner: RemoteOwner) -> None:
        self._owner = owner

    async def read(self, route: str) -> Sequence[ControlRecord]:
        """All records of a route."""
        return await self._owner.attempt_records.controls(route)

    async def write(self, record: ControlRecord) -> None:
        """Stores a record."""
        await self._owner.request({"action": "write-control", "record": astuple(record)})

    async def remove(self, record: ControlRecord) -> None:
        """Deletes a record, unless another one has replaced it."""
        await self._owner.request({"action": "remove-control", "record": astuple(record)})


class RemoteQueue:
    """Sends to one queue of the owner, and changes the visibility of its messages."""

    def __init__(self, owner: RemoteOwner, url: str) -> None:
        self._owner = owner
        self.url = url
        self.atomic_batches = True

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Sends messages, all or none; returns after the commit."""
        encoded = [[base64.b64encode(each.body).decode(), each.group_id, each.deduplication_id] for each in messages]
        results = await self._owner.request({"action": "send", "url": self.url, "messages": encoded})
        return [Sent(*each) if len(each) == _SENT_FIELDS else Failed(*each) for each in results]

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """Extends or ends the visibility timeout of messages."""
        command = {"action": "change-visibility", "url": self.url, "changes": [astuple(each) for each in changes]}
        results = await self._owner.request(command)
        return [None if each is None else Failed(*each) for each in results]


async def find_owner(folder: Path) -> RemoteOwner | None:
    """The running process that owns a folder and serves a control API; None where there is none, or it has ended."""
    try:
        owner = RemoteOwner(folder)
    except OSError:
        return None
    try:
        await owner.request({"action": "mark", "marks": []})
    except (BackendUnavailableError, BackendRejectedError):
        await owner.close()
        return None
    return owner


def _values(key: DeadLetterKey) -> list[Any]:
    return [key.dead_lettered_at, key.message_id, key.subject, key.route]


def _mark_values(mark: ReplayMark) -> list[Any]:
    return [mark.run, mark.epoch, mark.at, mark.message_id]
