"""One call of an SQS action: its request, and the names of its queue on both sides."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import URL_SCHEME, EmbeddedQueue
from chaski_embedded.fifo.queue_attributes import ACCOUNT
from chaski_embedded.sqs_api.fields import Fields, require_text


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the SQS JSON protocol."""

    broker: EmbeddedBroker
    fields: Fields
    base_url: str  # the server's URL as the client sees it: `http://127.0.0.1:9324`
    closing: asyncio.Event  # set when the server is closing: no call may wait any longer
    trace_header: str = ""  # of AWS X-Ray, from the request

    @property
    def broker_url(self) -> str:
        """The broker's URL of the call's queue; the host in `QueueUrl` is ignored.

        A port-forward, a container's name or a restart on another port changes the host, never the queue.
        """
        return URL_SCHEME + require_text(self.fields, "QueueUrl").rpartition("/")[2]

    @property
    def queue(self) -> EmbeddedQueue:
        """The call's queue. Makes no call."""
        return self.broker.queue(self.broker_url)

    async def settings(self) -> Mapping[str, str]:
        """The attributes of the call's queue."""
        return await self.broker.attributes(self.broker_url)

    def public_url(self, broker_url: str) -> str:
        """A queue's URL as the client can reach it."""
        return f"{self.base_url}/{ACCOUNT}/{broker_url.removeprefix(URL_SCHEME)}"


Action: TypeAlias = Callable[[Call], Awaitable[dict[str, Any] | None]]
