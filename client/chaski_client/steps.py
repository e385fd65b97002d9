"""What is sent, what is repeated and when, without I/O: generators that yield requests and pauses.

A client sends `Response`s for `Post`s, and for `Pause`s whether it has waited and goes on. So both clients and the command
`chaski send` decide alike, and tests need neither a server nor a clock.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chaski_client.errors import NotAcceptedError, RefusedError, SendError
from chaski_client.responses import Item, Response, Settled, settle
from chaski_core import json_codec
from chaski_core.retry.backoff import Backoff

ONE, BATCH = "/messages", "/messages:batch"
_JSON, _NDJSON = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}

T = TypeVar("T", bound=Item)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Policy:
    """How a request is repeated.

    Attributes:
        seconds: from the first request, or the last progress of a batch, to the last repeat; at most 240, because ingest
            knows an id for five minutes.
        backoff: between repeats; `Retry-After` takes precedence if it is longer, up to `backoff.longest_seconds`.

    Raises:
        ValueError: `seconds` is out of range.
    """

    seconds: float = 60.0
    backoff: Backoff = field(default=Backoff(first_seconds=0.2, longest_seconds=10.0))

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= 240:
            raise ValueError(f"seconds: {self.seconds:g} is not from 0 to 240: ingest knows an id for five minutes")


@dataclass(frozen=True, slots=True)
class Post:
    """A request to make: path below the route's URL, body, headers."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pause:
    """A time to wait, and why."""

    seconds: float
    reason: str


#: Yields what to do next; is sent the response of a Post, and for a Pause whether to go on.
Steps = Generator[Post | Pause, "Response | bool", R]


def sending(
    message: bytes, headers: Mapping[str, str], policy: Policy, started: float, random: Callable[[], float]
) -> Steps[Mapping[str, Any]]:
    """Sends one message until it is accepted; returns ingest's response.

    Args:
        message: the JSON document, with an id, or with an idempotency key in the headers.
        headers: for ingest.
        policy: of repeats.
        started: seconds of the clock of `Response.at`.
        random: in [0, 1).

    Raises:
        RefusedError: it would be refused again.
        NotAcceptedError: it was not accepted in time, or the client does not go on.
        SendError: the response is not that of a Chaski ingest.
    """
    repeats = _Repeats(policy, started, random)
    while True:
        response = yield from _post(Post(ONE, message, {**_JSON, **headers}))
        if response.status == 202:
            return _object(response.body)
        reason = response.reason()
        if not response.may_repeat:
            raise RefusedError(response.status, reason)
        if not (yield from repeats.wait(response, reason)):
            raise NotAcceptedError(policy.seconds, reason)


def sending_lines(lines: Sequence[T], policy: Policy, started: float, random: Callable[[], float]) -> Steps[Settled[T]]:
    """Sends the lines of one request until each is accepted or refused; after the deadline the rest is left.

    Args:
        lines: with ids. Blank ones are not allowed: they have no result.
        policy: of repeats; its time begins anew whenever a line is accepted or refused.
        started: seconds of the clock of `Response.at`.
        random: in [0, 1).

    Raises:
        RefusedError: ingest refuses the request as a whole, whatever the lines are.
        SendError: the results are not those of the lines.
    """
    accepted: list[tuple[T, Mapping[str, Any]]] = []
    refused: list[tuple[T, int, str]] = []
    repeats, left = _Repeats(policy, started, random), tuple(lines)
    while True:
        response = yield from _post(Post(BATCH, b"".join(line.data + b"\n" for line in left), _NDJSON))
        if response.status == 200:
            result = settle(left, _results(response, len(left)))
            accepted += result.accepted
            refused += result.refused
            left, reason = result.left, result.reason
            if result.accepted or result.refused:
                repeats = _Repeats(policy, response.at, random)
            if left and result.refused:
                continue  # ingest held these lines back behind a refused one of their subject
        elif response.may_repeat:
            reason = response.reason()
        else:
            raise RefusedError(response.status, response.reason())
        if not left or not (yield from repeats.wait(response, reason)):
            place = {id(line): number for number, line in enumerate(lines)}
            accepted.sort(key=lambda each: place[id(each[0])])
            refused.sort(key=lambda each: place[id(each[0])])
            return Settled(tuple(accepted), tuple(refused), left, reason if left else "")


class _Repeats:
    """Consecutive failures, and the deadline."""

    def __init__(self, policy: Policy, started: float, random: Callable[[], float]) -> None:
        self._policy, self._deadline, self._random = policy, started + policy.seconds, random
        self._failures = 0

    def wait(self, response: Response, reason: str) -> Generator[Post | Pause, "Response | bool", bool]:
        """Waits before a repeat; False if the deadline would pass, or the client does not go on."""
        self._failures += 1
        backoff = self._policy.backoff
        seconds = max(backoff.equal_jitter(self._failures, self._random()), response.retry_after or 0.0)
        seconds = min(seconds, backoff.longest_seconds)
        if response.at + seconds > self._deadline:
            return False
        return bool((yield Pause(seconds, reason)))


def _post(request: Post) -> Generator[Post | Pause, "Response | bool", Response]:
    response = yield request
    if not isinstance(response, Response):
        raise TypeError("the answer to a Post is a Response")
    return response


def _results(response: Response, lines: int) -> list[Mapping[str, Any]]:
    results = [_object(line) for line in response.body.splitlines() if line.strip()]
    if len(results) != lines:
        raise SendError(
            f"ingest returned {len(results)} results for {lines} lines, so it is unknown which were accepted"
        )
    return results


def _object(text: bytes) -> Mapping[str, Any]:
    """A JSON object of ingest. SendError: it is something else, as a proxy may respond."""
    try:
        value = json_codec.loads(text)
    except json_codec.JsonError as error:
        raise SendError(f"the response is not JSON, so it is unknown what was accepted: {error}") from error
    if not isinstance(value, dict):
        raise SendError("the response is not a JSON object, so it is unknown what was accepted")
    return value
