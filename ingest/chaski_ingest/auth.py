"""Who may send to a route. The seam: what decides is chosen by whoever puts the process together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chaski_core.route.model import Route


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may go on; `producer` is noted in each message's metadata."""

    producer: str | None


@dataclass(frozen=True, slots=True)
class Denied:
    """The request may not go on: 401 where it says too little about who asks, 403 where that one may not."""

    status: int
    detail: str


class Authenticator(Protocol):
    """Decides who may send."""

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Admitted | Denied:
        """Judges one request by its headers, whose names are looked up case-insensitively."""
        ...


class NoAuthentication:
    """Everyone may send. For one machine, and for clusters where the network decides."""

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Admitted | Denied:  # noqa: ARG002 - the protocol's arguments
        """Admits."""
        return Admitted(None)
