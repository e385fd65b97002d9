"""The client for asyncio, on aiohttp."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from chaski_client.connection import REQUEST_SECONDS, Destination, Tally, requests_of
from chaski_client.messages import Accepted, BatchResult, Message
from chaski_client.responses import Response, retry_after
from chaski_client.steps import Pause, Policy, Post, Steps, sending, sending_lines

_random = SystemRandom().random

R = TypeVar("R")


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
    """Makes one request. A failure without a response is a `Response` with status 0.

    Raises:
        aiohttp.InvalidURL: `url` is not a URL.
    """
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    try:
        async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
            after = retry_after(response.headers.get("Retry-After"))
            return Response(response.status, await response.read(), time.monotonic(), after)
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
        reason = f"no response from {url}: {str(error) or 'timeout'}"
        return Response(0, reason.encode(), time.monotonic())


async def run_steps(
    steps: Steps[R],
    make_request: Callable[[Post], Awaitable[Response]],
    wait: Callable[[Pause], Awaitable[bool]] | None = None,
) -> R:
    """Makes the requests of steps and waits; returns their result.

    Args:
        steps: of `chaski_client.steps`.
        make_request: returns the response.
        wait: returns whether to go on; by default it sleeps.
    """
    try:
        step = next(steps)
        while True:
            if isinstance(step, Post):
                step = steps.send(await make_request(step))
            else:
                step = steps.send(await (wait or _sleep)(step))
    except StopIteration as ended:
        result: R = ended.value
        return result


async def _sleep(pause: Pause) -> bool:
    await asyncio.sleep(pause.seconds)
    return True


class AsyncClient:
    """Sends messages to one route of one ingest. Close it, or use it in `async with`."""

    def __init__(
        self,
        url: str,
        route: str,
        *,
        token_file: str | Path | None = None,
        api_key: str | None = None,
        policy: Policy | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Makes no request yet.

        Args:
            url: of ingest, such as https://chaski-ingest.chaski-system.svc.
            route: NAMESPACE/NAME.
            token_file: with a projected ServiceAccount token of the audience `chaski`; it is read for each request.
            api_key: instead of a token, for producers outside the cluster.
            policy: of repeats; by default for a minute.
            session: to use, with your certificates and limits; it is not closed.

        Raises:
            ValueError: the route has another form, or both credentials are given.
        """
        self._destination = Destination(url, route, token_file, api_key)
        self._policy = policy or Policy()
        self._session = session
        self._own: aiohttp.ClientSession | None = None

    async def send(
        self,
        subject: str,
        url: str,
        content: Any = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> Accepted:
        """Sends a message, and repeats it until it is accepted; the fields are those of `Message`.

        Raises:
            RefusedError: it would be refused again.
            NotAcceptedError: it was not accepted in time; send it again with the same id.
            SendError: a response is not that of a Chaski ingest.
            OSError: the token's file can't be read.
        """
        message = Message.of(subject, url, content, id, method=method, headers=headers)
        steps = sending(message.data, {}, self._policy, time.monotonic(), _random)
        return Accepted.parse(await run_steps(steps, self._post))

    async def send_all(self, messages: Iterable[Message]) -> BatchResult:
        """Sends messages in order, up to 500 with a request, and repeats them until each is accepted or refused.

        When messages are left after the policy's time, no later ones are sent: they are left too.

        Raises:
            RefusedError: ingest refuses a request as a whole (401, 403, 404), so none of its messages was accepted.
            SendError: a response is not that of a Chaski ingest.
            OSError: the token's file can't be read.
        """
        tally = Tally()
        for request in requests_of(messages):
            if tally.is_stopped:
                tally.keep(request)
                continue
            steps = sending_lines(request, self._policy, time.monotonic(), _random)
            tally.add(await run_steps(steps, self._post))
        return tally.result()

    async def close(self) -> None:
        """Closes the connections of a session of its own."""
        if self._own is not None:
            await self._own.close()
            self._own = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _post(self, request: Post) -> Response:
        session = self._session or self._own
        if session is None:
            session = self._own = aiohttp.ClientSession()
        headers = {**self._destination.headers(), **request.headers}
        return await post(session, self._destination.address(request.path), request.body, headers)
