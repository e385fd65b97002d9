"""The client for programs without asyncio, on the standard library. One instance for each thread."""

import http.client
import ssl
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from chaski_client.connection import REQUEST_SECONDS, Destination, Tally, requests_of
from chaski_client.messages import Accepted, BatchResult, Message
from chaski_client.responses import Response, retry_after
from chaski_client.steps import Policy, Post, Steps, sending, sending_lines

_random = SystemRandom().random

R = TypeVar("R")


class Client:
    """Sends messages to one route of one ingest, over one connection. Close it, or use it in `with`."""

    def __init__(
        self,
        url: str,
        route: str,
        *,
        token_file: str | Path | None = None,
        api_key: str | None = None,
        policy: Policy | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Makes no request yet.

        Args:
            url: of ingest, such as https://chaski-ingest.chaski-system.svc.
            route: NAMESPACE/NAME.
            token_file: with a projected ServiceAccount token of the audience `chaski`; it is read for each request.
            api_key: instead of a token, for producers outside the cluster.
            policy: of repeats; by default for a minute.
            tls: with your authorities; the system's by default.

        Raises:
            ValueError: the URL or the route has another form, or both credentials are given.
        """
        self._destination = Destination(url, route, token_file, api_key)
        self._policy = policy or Policy()
        self._place = urlsplit(url)
        if self._place.scheme not in ("http", "https") or not self._place.hostname:
            raise ValueError(f'url: expected http:// or https:// and a host, got "{url}"')
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None

    def send(
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
        return Accepted.parse(self._run(sending(message.data, {}, self._policy, time.monotonic(), _random)))

    def send_all(self, messages: Iterable[Message]) -> BatchResult:
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
            tally.add(self._run(sending_lines(request, self._policy, time.monotonic(), _random)))
        return tally.result()

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps[R]) -> R:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Post):
                    step = steps.send(self._post(step))
                else:
                    time.sleep(step.seconds)
                    step = steps.send(True)
        except StopIteration as ended:
            result: R = ended.value
            return result

    def _post(self, request: Post) -> Response:
        """Makes one request; a failure without a response is a `Response` with status 0."""
        url = self._destination.address(request.path)
        headers = {**self._destination.headers(), **request.headers}
        try:
            connection = self._connection = self._connection or self._connect()
            connection.request("POST", urlsplit(url).path, request.body, headers)
            response = connection.getresponse()
            after = retry_after(response.getheader("Retry-After"))
            return Response(response.status, response.read(), time.monotonic(), after)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Response(
                0, f"no response from {url}: {str(error) or type(error).__name__}".encode(), time.monotonic()
            )

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._place.hostname or "", self._place.port
        if self._place.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=REQUEST_SECONDS, context=self._tls)
