"""Messages and what became of them. Pure."""

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from chaski_client.errors import SendError
from chaski_core import json_codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message: the request that the target will get, and the subject whose order it belongs to.

    Attributes:
        subject: 1 to 512 characters.
        url: of the target, within the route's allow-list.
        content: text, bytes, or what JSON can hold; None: no body.
        method: POST by default.
        headers: for the target.
        id: 1 to 64 of `A-Z a-z 0-9 . _ -`. A repeat with the same id and the same rest within five minutes is the same message,
            so give it one that survives a crash of yours, such as the key of an outbox's row. A new one by default.
    """

    subject: str
    url: str
    content: Any = None
    method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    def of(cls, subject: str, url: str, content: Any, id_: str | None, **optional: Any) -> Self:
        """A message whose id, method and headers may be None: then they are the default ones."""
        given = {name: value for name, value in {"id": id_, **optional}.items() if value is not None}
        return cls(subject=subject, url=url, content=content, **given)

    @property
    def data(self) -> bytes:
        """The JSON document that ingest takes.

        Raises:
            ValueError: JSON can't hold the content.
        """
        body: dict[str, Any] = {"url": self.url}
        if self.method is not None:
            body["method"] = self.method
        if self.headers:
            body["headers"] = dict(self.headers)
        if isinstance(self.content, bytes):
            body |= {"content": base64.b64encode(self.content).decode(), "contentEncoding": "base64"}
        elif self.content is not None:
            body["content"] = self.content
        return json_codec.dumps({"id": self.id, "subject": self.subject, "body": body})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that ingest has accepted: it is on its queue.

    Attributes:
        message_id: its identity, the same for a repeat; targets see it as `webhook-id`.
        id: of the message.
        subject: of the message.
        queue: of the route.
        partition: of the queue.
    """

    message_id: str
    id: str
    subject: str
    queue: str
    partition: int

    @classmethod
    def parse(cls, result: Mapping[str, Any]) -> Self:
        """From ingest's response, or the result of a line of a batch.

        Raises:
            SendError: it is not one, so a proxy or another server has responded.
        """
        try:
            return cls(result["messageId"], result["id"], result["subject"], result["queue"], result["partition"])
        except KeyError as error:
            raise SendError(f"the response has no {error}; it is not that of a Chaski ingest") from error


@dataclass(frozen=True, slots=True)
class Refused:
    """A message of a batch that was not accepted and would be refused again.

    Attributes:
        message: the message.
        status: as `RefusedError.status`; 503 if a later message of its subject was accepted, so that a repeat would be out of order.
        reason: with the names of the fields.
    """

    message: Message
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of the messages of a batch, each part in the order in which they were given.

    Attributes:
        accepted: they are on their queues.
        refused: they were skipped; later messages of their subjects were sent all the same.
        left: not accepted in time, from the first such message of its subject on; send these again, as they are, with `send_all`.
        reason: why messages are left; empty if none is.
    """

    accepted: tuple[Accepted, ...]
    refused: tuple[Refused, ...]
    left: tuple[Message, ...]
    reason: str = ""
