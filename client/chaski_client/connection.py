"""Where messages go, and with which credentials. Reads the token's file; otherwise pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaski_client.messages import Accepted, BatchResult, Message, Refused
from chaski_client.responses import Settled
from chaski_core.route.model import is_route_key

#: Of one request; ingest takes up to 10,000 lines and 16 MiB.
MAX_LINES, MAX_BYTES = 500, 2_097_152
#: A response is awaited for longer than ingest needs at most (25 s for the lines of a batch).
REQUEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Destination:
    """A route of an ingest, and the producer's credentials.

    Attributes:
        url: of ingest, without a path.
        route: NAMESPACE/NAME.
        token_file: with a projected ServiceAccount token; it is read for each request, because the kubelet renews it.
        api_key: instead of a token, for producers outside the cluster.

    Raises:
        ValueError: the route has another form, or both credentials are given.
    """

    url: str
    route: str
    token_file: str | Path | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not is_route_key(self.route):
            raise ValueError(f'route: expected NAMESPACE/NAME, such as shop/orders, got "{self.route}"')
        if self.token_file is not None and self.api_key is not None:
            raise ValueError("token_file and api_key: give one of them")

    def address(self, path: str) -> str:
        """The URL of a path below the route's."""
        return f"{self.url.rstrip('/')}/v1/routes/{self.route}{path}"

    def headers(self) -> dict[str, str]:
        """The credential.

        Raises:
            OSError: the token's file can't be read.
        """
        if self.token_file is not None:
            return {"Authorization": f"Bearer {Path(self.token_file).read_text('utf-8').strip()}"}
        if self.api_key is not None:
            return {"Authorization": f"Bearer {self.api_key}"}
        return {}


def requests_of(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Groups messages into requests, in order."""
    gathered: list[Message] = []
    size = 0
    for message in messages:
        length = len(message.data) + 1
        if gathered and (len(gathered) == MAX_LINES or size + length > MAX_BYTES):
            yield gathered
            gathered, size = [], 0
        gathered.append(message)
        size += length
    if gathered:
        yield gathered


class Tally:
    """The results of the requests of a batch."""

    def __init__(self) -> None:
        self._accepted: list[Accepted] = []
        self._refused: list[Refused] = []
        self._left: list[Message] = []
        self._reason = ""

    @property
    def is_stopped(self) -> bool:
        """Whether a message is left: the next request could overtake it."""
        return bool(self._left)

    def add(self, settled: Settled[Message]) -> None:
        """Adds the result of a request."""
        self._accepted += [Accepted.parse(result) for _, result in settled.accepted]
        self._refused += [Refused(*each) for each in settled.refused]
        self._left += settled.left
        self._reason = self._reason or settled.reason

    def keep(self, unsent: Iterable[Message]) -> None:
        """Adds messages for which no request was made."""
        self._left += unsent

    def result(self) -> BatchResult:
        """All of it."""
        return BatchResult(tuple(self._accepted), tuple(self._refused), tuple(self._left), self._reason)
