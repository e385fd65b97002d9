"""The few calls of the Kubernetes API that the processes need, over one of two transports: the official client or aiohttp.

Objects are JSON, without the official client's models, which know no ChaskiRoute and cost 30 MiB. Its own watch is not
used either (`kubernetes.aio` 37): its dynamic client never asks for bookmarks, so that a quiet watch can't be
distinguished from a dead one; after a 410 it asks again with the same version, and never lists; a broken watch is asked again without a pause.
Neither is kopf a client (`kopf/docs/hierarchies.rst`).
"""

import copy
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from chaski_core.errors import ChaskiError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.reachability import Reachability
from chaski_runtime.kube.transport import APPLY, AiohttpTransport, ApiRequest, Transport, admit_all

_MAX_MESSAGE = 4_096  # characters of an error: a webhook may refuse with a page
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_SILENCE_SECONDS = 75.0  # bookmarks come every minute
_MAX_EVENT_BYTES = 8 * 1024 * 1024  # above the limit of etcd

Object = dict[str, Any]  # a Kubernetes object as JSON


class KubeApiError(ChaskiError):
    """A call to the API server failed."""


class KubeUnavailableError(KubeApiError):
    """The API server is unreachable, overloaded or failed: try again later."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class KubeRefusedError(KubeApiError):
    """The API server refused the call: `status` 404, 409, 403, 422 ...; `reason` as it names it, such as NotFound."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class WatchExpiredError(KubeApiError):
    """The resource version is too old to watch from: list again."""


def object_path(
    api_version: str, plural: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    """The path of a collection, of an object, or of its subresource."""
    parts = ["api" if "/" not in api_version else "apis", api_version]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(plural)
    parts += [part for part in (name, subresource) if part is not None]
    return "/" + "/".join(parts)


class KubeApi:
    """One API server. Use it as an asynchronous context; calls may run concurrently.

    Each call raises `KubeUnavailableError` or `KubeRefusedError`.
    """

    def __init__(
        self,
        access: KubeAccess,
        *,
        user_agent: str,
        timeout_seconds: float = 30.0,
        transport: Callable[[KubeAccess, str], Transport] = AiohttpTransport,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes no connection yet.

        Args:
            access: the API server.
            user_agent: how the process calls itself.
            timeout_seconds: of each call; a watch has its own.
            transport: `OfficialTransport` for kubeconfigs of any kind; the default is lean, and takes less of them.
            monotonic: seconds, for `reachability`.

        Raises:
            NoKubeAccessError: the transport can't use this access.
        """
        self.access = access
        self.reachability = Reachability(monotonic)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=10.0)
        self._transport = transport(access, user_agent)
        self._admit = admit_all

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._transport.close()

    def variant(self, *, timeout_seconds: float | None = None, admit: Callable[[], None] | None = None) -> "KubeApi":
        """A client with the same connections, which are closed with this one.

        Args:
            timeout_seconds: of each call.
            admit: called before each write, and again immediately before its bytes are sent; raises to prevent it.
        """
        made = copy.copy(self)
        if timeout_seconds is not None:
            made._timeout = aiohttp.ClientTimeout(total=timeout_seconds)  # noqa: SLF001 - of this class
        if admit is not None:
            made._admit = admit  # noqa: SLF001 - as above
        return made

    async def get(self, path: str, **parameters: str) -> Object:
        """An object, or a list of objects (with `labelSelector` and the like as parameters)."""
        return await self._call(ApiRequest("GET", path, parameters))

    async def find(self, path: str) -> Object | None:
        """An object, or None where it does not exist."""
        try:
            return await self.get(path)
        except KubeRefusedError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, path: str, body: Object) -> Object:
        """Creates an object; 409 where it exists."""
        return await self._call(ApiRequest("POST", path, body=body))

    async def replace(self, path: str, body: Object) -> Object:
        """Writes an object as a whole; 409 where its `resourceVersion` is not the current one."""
        return await self._call(ApiRequest("PUT", path, body=body))

    async def apply(self, path: str, body: Object, *, manager: str, force: bool = True) -> Object:
        """Server-side apply: creates the object, or sets the fields of `body` and removes those no longer in it."""
        parameters = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._call(ApiRequest("PATCH", path, parameters, body, APPLY))

    async def merge_patch(self, path: str, body: Object) -> Object:
        """Merges a document into an object."""
        return await self._call(ApiRequest("PATCH", path, body=body, content_type=_MERGE))

    async def json_patch(self, path: str, operations: list[Object]) -> Object:
        """Applies a list of operations, all or none; 422 where a `test` among them fails."""
        return await self._call(ApiRequest("PATCH", path, body=operations, content_type=_JSON_PATCH))

    async def delete(self, path: str, *, uid: str | None = None) -> bool:
        """Deletes an object, with a uid only that very one; False where it does not exist, or has another uid."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._call(ApiRequest("DELETE", path, body=body))
        except KubeRefusedError as error:
            if error.status == 404 or (error.status == 409 and uid is not None):
                return False
            raise
        return True

    async def watch(
        self, path: str, resource_version: str, *, timeout_seconds: int = 300, **parameters: str
    ) -> AsyncIterator[Object]:
        """Events `{type, object}` since a version, until the server ends the stream; bookmarks included.

        Raises:
            WatchExpiredError: the version is too old.
            KubeUnavailableError: the stream broke, or was silent for 75 s, without even a bookmark.
        """
        query = parameters | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        timeout = aiohttp.ClientTimeout(total=None, connect=10.0, sock_read=_SILENCE_SECONDS)
        try:
            async with await self._transport.send(ApiRequest("GET", path, query), timeout) as response:
                if response.status == 410:
                    raise WatchExpiredError(f"410 Gone for version {resource_version}")
                if response.status >= 300:
                    raise self._refusal(response, await response.read())
                try:
                    async for event in _events(response.content):
                        self.reachability.succeeded()
                        yield event
                finally:
                    # The caller left the stream: TLS would wait up to 30 s for the server's close_notify, beyond the loop's end.
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._outage(f"watch of {path}", error) from error

    async def _call(self, request: ApiRequest) -> Object:
        if request.method != "GET":
            request = replace(request, admit=self._admit)
        call = f"{request.method} {request.path}"
        try:
            async with await self._transport.send(request, self._timeout) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._outage(call, error) from error
        except KubeUnavailableError as error:
            self.reachability.failed(error)
            raise
        if response.status >= 300:
            raise self._refusal(response, content)
        try:
            document: Object = orjson.loads(content)
        except orjson.JSONDecodeError as error:  # a proxy answered
            raise self._outage(call, ValueError(f"the response is not valid JSON: {error}")) from error
        self.reachability.succeeded()
        return document

    def _outage(self, call: str, error: Exception) -> KubeUnavailableError:
        """The error of a call without a valid response."""
        outage = KubeUnavailableError(f"{call}: {error_text(error)}")
        self.reachability.failed(outage)
        return outage

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes) -> KubeApiError:
        """The error of a response with a status of at least 300."""
        error = _error(response, content)
        if response.status == 401 or response.status >= 500:
            self.reachability.failed(error)
        else:
            self.reachability.succeeded()
        return error


async def _events(stream: aiohttp.StreamReader) -> AsyncIterator[Object]:
    rest = bytearray()
    async for chunk in stream.iter_any():
        rest += chunk
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        if len(rest) > _MAX_EVENT_BYTES:
            raise KubeUnavailableError(f"watch: an event has more than {_MAX_EVENT_BYTES} bytes")
        for line in lines:
            if not line:
                continue
            try:
                event: Object = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise KubeUnavailableError(f"watch: an event is not valid JSON: {error}") from error
            if event["type"] == "ERROR":
                status = event["object"]
                if status.get("code") == 410:
                    raise WatchExpiredError(str(status.get("message")))
                raise KubeUnavailableError(f"watch: {status.get('message')}")
            yield event


def _error(response: aiohttp.ClientResponse, content: bytes) -> KubeApiError:
    try:
        status = orjson.loads(content)
        reason, message = str(status["reason"]), str(status["message"])[:_MAX_MESSAGE]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        reason, message = response.reason or str(response.status), content[:500].decode("utf-8", "replace")
    if response.status == 429 or response.status >= 500:
        wait = response.headers.get("Retry-After", "")
        return KubeUnavailableError(
            f"{reason}: {message}", retry_after_seconds=float(wait) if wait.isdecimal() else None
        )
    return KubeRefusedError(response.status, reason, message)


def error_text(error: BaseException) -> str:
    """The message of an exception, or its type where it has none."""
    return str(error) or type(error).__name__
