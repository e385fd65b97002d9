"""A data folder that another process owns: read beside it, changed through its door (`control.py`)."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_embedded.control import server
from chaski_embedded.storage import schema
from chaski_embedded.store import BesideLetters

_TIMEOUT_SECONDS = 60.0
_SENT_FIELDS = 2


class RemoteOwner:
    """The process that owns a data folder. Made by `find_owner`, closed by whoever made it."""

    def __init__(self, folder: Path, url: str, secret: str) -> None:
        self.dead_letters = RemoteDeadLetters(self, folder / schema.FILE_NAME)
        self._url = url
        self._http = aiohttp.ClientSession(
            headers={server.SECRET_HEADER: secret}, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        )

    def queue(self, url: str) -> "RemoteQueue":
        """What sends to a queue. Makes no call."""
        return RemoteQueue(self, url)

    async def ask(self, asked: Mapping[str, Any]) -> Any:
        """One request through the door.

        Raises:
            BackendUnavailableError: the owner is gone or can't do it now.
            BackendRejectedError: it refuses.
        """
        try:
            async with self._http.post(self._url, data=orjson.dumps(asked)) as answered:
                status, body = answered.status, await answered.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BackendUnavailableError(f"the process that owns the folder does not answer: {error}") from error
        if status == 403:
            raise BackendRejectedError("AccessDenied", "another process answers at this port now")
        answer = orjson.loads(body)
        if "error" not in answer:
            return answer["result"]
        told = answer["error"]
        if status == 503:
            raise BackendUnavailableError(str(told["reason"]))
        raise BackendRejectedError(str(told["code"]), str(told["reason"]))

    async def close(self) -> None:
        """Closes the connection."""
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


class RemoteDeadLetters(BesideLetters):
    """Implements `chaski_core.ports.DeadLetterStore` but for `put`, which is the workers' alone."""

    def __init__(self, owner: RemoteOwner, file: Path) -> None:
        super().__init__(file)
        self._owner = owner

    async def put(self, letter: DeadLetter) -> None:
        """Is never asked for here."""
        raise BackendRejectedError("UnsupportedOperation", f"{letter.id}: only workers keep dead letters")

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to send them again."""
        judged = [[_values(key), None if mark is None else _mark_values(mark)] for key, mark in wanted]
        made = await self._owner.ask({"action": "claim", "wanted": judged, "claim": [claim.run, claim.at]})
        return [Claimed(each) for each in made]

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Notes down that dead letters were sent again."""
        sent = [[_values(key), _mark_values(mark)] for key, mark in marks]
        await self._owner.ask({"action": "mark", "marks": sent})

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters for good."""
        await self._owner.ask({"action": "discard", "keys": [_values(key) for key in keys]})


class RemoteQueue:
    """Sends to one queue of the owner's."""

    def __init__(self, owner: RemoteOwner, url: str) -> None:
        self._owner = owner
        self.url = url
        self.atomic_batches = True

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Puts messages on the queue, all or none; returns after the commit."""
        made = [[base64.b64encode(each.body).decode(), each.group_id, each.deduplication_id] for each in messages]
        results = await self._owner.ask({"action": "send", "url": self.url, "messages": made})
        return [Sent(*each) if len(each) == _SENT_FIELDS else Failed(*each) for each in results]


async def find_owner(folder: Path) -> RemoteOwner | None:
    """The running process that owns a folder and has a door; None where there is none, or it is gone."""
    try:
        where = orjson.loads((folder / server.FILE_NAME).read_bytes())
        owner = RemoteOwner(folder, str(where["url"]), str(where["secret"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    try:
        await owner.ask({"action": "mark", "marks": []})
    except (BackendUnavailableError, BackendRejectedError):
        await owner.close()
        return None
    return owner


def _values(key: DeadLetterKey) -> list[Any]:
    return [key.dead_lettered_at, key.message_id, key.subject, key.route]


def _mark_values(mark: ReplayMark) -> list[Any]:
    return [mark.run, mark.epoch, mark.at, mark.message_id]
