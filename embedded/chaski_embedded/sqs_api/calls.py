"""What every action of the SQS server works with: one call, and how its queue is named on either side."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.queue import URL_SCHEME, EmbeddedQueue
from chaski_embedded.sqs_api import fields as sqs_fields
from chaski_embedded.sqs_api.fields import Fields
from chaski_embedded.sqs_api.queues import ACCOUNT


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the SQS JSON protocol."""

    broker: EmbeddedBroker
    fields: Fields
    base_url: str  # how the caller reached the server: `http://127.0.0.1:9324`
    closing: asyncio.Event  # set when the server wants to end: nothing may wait any longer
    trace_header: str = ""  # of AWS X-Ray, as the request carried it

    @property
    def broker_url(self) -> str:
        """The broker's name for the queue that the call is about; the host in `QueueUrl` does not matter.

        A port-forward, a container's name or a restart on another port changes the host, never the queue.
        """
        return URL_SCHEME + sqs_fields.needed_text(self.fields, "QueueUrl").rpartition("/")[2]

    @property
    def queue(self) -> EmbeddedQueue:
        """The queue that the call is about. Makes no call."""
        return self.broker.queue(self.broker_url)

    async def settings(self) -> Mapping[str, str]:
        """The attributes of the queue that the call is about."""
        return await self.broker.attributes(self.broker_url)

    def public_url(self, broker_url: str) -> str:
        """A queue's URL as the caller can reach it."""
        return f"{self.base_url}/{ACCOUNT}/{broker_url.removeprefix(URL_SCHEME)}"


Action: TypeAlias = Callable[[Call], Awaitable[dict[str, Any] | None]]
