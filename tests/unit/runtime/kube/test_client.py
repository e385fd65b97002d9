"""The client of the Kubernetes API with both transports against a fake server; `tests/integration` uses a real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web

from chaski_runtime.kube import client
from chaski_runtime.kube.client import (
    KubeApi,
    KubeRefusedError,
    KubeUnavailableError,
    Object,
    WatchExpiredError,
    object_path,
)
from chaski_runtime.kube.config import KubeAccess
from support.kube.fake_server import TRANSPORTS, Handler, TransportType, serving

ApiTo = Callable[[Handler], AbstractAsyncContextManager[KubeApi]]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> TransportType:
    """Each transport."""
    made: TransportType = request.param
    return made


@pytest.fixture
def api_to(transport: TransportType) -> ApiTo:
    """Makes a client of a server with one handler for all paths."""

    @asynccontextmanager
    async def made(handler: Handler) -> AsyncIterator[KubeApi]:
        async with serving(handler) as url:
            access = KubeAccess(url, "default", token="t")
            async with KubeApi(access, user_agent="test", timeout_seconds=1.0, transport=transport) as api:
                yield api

    return made


async def followed(api: KubeApi, events: list[Object]) -> None:
    """Watches until the stream ends."""
    async for event in api.watch("/api/v1/x", "5"):
        events.append(event)  # noqa: PERF401 - they are kept when the stream breaks


def refusal(status: int, reason: str) -> Handler:
    """Answers with a Status object, as the API server does."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "reason": reason, "message": "refused by the test"}, status=status)

    return handler


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (object_path("v1", "configmaps", "a", "b"), "/api/v1/namespaces/a/configmaps/b"),
        (object_path("apps/v1", "deployments"), "/apis/apps/v1/deployments"),
        (
            object_path("chaski.dev/v1alpha1", "chaskiroutes", "a", "b", "status"),
            "/apis/chaski.dev/v1alpha1/namespaces/a/chaskiroutes/b/status",
        ),
    ],
)
def test_paths_are_those_of_the_api(path: str, wanted: str) -> None:
    """Core and grouped kinds, collections, objects and subresources have their paths."""
    assert path == wanted


async def test_apply_sends_manager_and_token(api_to: ApiTo) -> None:
    """Server-side apply has its content type, manager, force and credentials."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(await request.json())

    async with api_to(handler) as api:
        assert await api.apply("/api/v1/x", {"a": 1}, manager="me") == {"a": 1}
    (request,) = seen
    assert (request.method, request.content_type) == ("PATCH", "application/apply-patch+yaml")
    assert dict(request.query) == {"fieldManager": "me", "force": "true"}
    assert request.headers["Authorization"] == "Bearer t"
    assert request.headers["User-Agent"] == "test"


@pytest.mark.parametrize(
    ("call", "method", "content_type", "body"),
    [
        (lambda api: api.create("/x", {"a": "é"}), "POST", "application/json", {"a": "é"}),
        (lambda api: api.replace("/x", {"a": 1}), "PUT", "application/json", {"a": 1}),
        (lambda api: api.merge_patch("/x", {"a": None}), "PATCH", "application/merge-patch+json", {"a": None}),
        (lambda api: api.json_patch("/x", [{"op": "test"}]), "PATCH", "application/json-patch+json", [{"op": "test"}]),
        (
            lambda api: api.delete("/x", uid="u"),
            "DELETE",
            "application/json",
            {
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "propagationPolicy": "Background",
                "preconditions": {"uid": "u"},
            },
        ),
    ],
    ids=["create", "replace", "merge patch", "JSON patch", "delete"],
)
async def test_bodies_are_sent_as_they_are(
    api_to: ApiTo, call: Callable[[KubeApi], Awaitable[object]], method: str, content_type: str, body: object
) -> None:
    """JSON with its content type; nulls are kept, which remove fields."""
    seen: list[tuple[str, str, object]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.content_type, await request.json()))
        return web.json_response({})

    async with api_to(handler) as api:
        await call(api)
    assert seen == [(method, content_type, body)]


async def test_parameters_arrive_as_they_are(api_to: ApiTo) -> None:
    """Selectors and tokens have characters that URLs reserve."""
    given = {"labelSelector": "a=b,c!=d,e in (f, g)", "continue": "eyJ2+/=&%20"}
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(dict(request.query))
        return web.json_response({})

    async with api_to(handler) as api:
        await api.get("/api/v1/x", **given)
    assert seen == [given]


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (409, "Conflict"), (422, "Invalid")])
async def test_a_refusal_carries_status_reason_and_message(status: int, reason: str, api_to: ApiTo) -> None:
    """The error of a 4xx response has its status and reason."""
    async with api_to(refusal(status, reason)) as api:
        with pytest.raises(KubeRefusedError, match="refused by the test") as caught:
            await api.get("/api/v1/x")
    assert (caught.value.status, caught.value.reason) == (status, reason)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_overload_and_failure_are_unavailable(status: int, api_to: ApiTo) -> None:
    """429 and 5xx raise the error that callers retry; nothing is retried before."""
    requests: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.json_response({"reason": "Busy", "message": "no"}, status=status, headers={"Retry-After": "7"})

    async with api_to(handler) as api:
        with pytest.raises(KubeUnavailableError, match="Busy: no") as caught:
            await api.get("/api/v1/x")
    assert (caught.value.retry_after_seconds, requests) == (7.0, ["/api/v1/x"])


@pytest.mark.parametrize("answered", [False, True], ids=["no response", "half a response"])
async def test_a_call_has_a_timeout(answered: bool, api_to: ApiTo) -> None:
    """Of the whole call, the body of the response included."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if answered:
            await response.prepare(request)
            await response.write(b'{"a":')
        await asyncio.Event().wait()
        return response

    async with api_to(handler) as api:
        async with asyncio.timeout(5):
            with pytest.raises(KubeUnavailableError):
                await api.get("/api/v1/x")


@pytest.mark.parametrize("streamed", [False, True], ids=["call", "watch"])
async def test_a_broken_connection_is_unavailable(streamed: bool, api_to: ApiTo) -> None:
    """No error of aiohttp comes through."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"type":')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with api_to(handler) as api:
        with pytest.raises(KubeUnavailableError):
            await (followed(api, []) if streamed else api.get("/api/v1/x"))


async def test_a_silent_watch_is_unavailable(api_to: ApiTo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without even a bookmark; a watch has no other timeout than this and its own."""
    monkeypatch.setattr(client, "_SILENCE_SECONDS", 0.5)

    async def handler(request: web.Request) -> web.StreamResponse:
        assert (request.query["allowWatchBookmarks"], request.query["timeoutSeconds"]) == ("true", "300")
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(6):
            await response.write(b'{"type":"BOOKMARK","object":{}}\n')
            await asyncio.sleep(0.25)
        await asyncio.Event().wait()
        return response

    seen: list[Object] = []
    async with api_to(handler) as api:
        async with asyncio.timeout(10):
            with pytest.raises(KubeUnavailableError):
                await followed(api, seen)
    assert [event["type"] for event in seen] == ["BOOKMARK"] * 6


async def test_a_missing_object_is_none(api_to: ApiTo) -> None:
    """404 is not an error for `find` and `delete`."""
    async with api_to(refusal(404, "NotFound")) as api:
        assert await api.find("/api/v1/x") is None
        assert await api.delete("/api/v1/x") is False


async def test_an_unreachable_server_is_unavailable(transport: TransportType) -> None:
    """A refused connection raises the error that callers retry."""
    access = KubeAccess("http://127.0.0.1:1", "default")
    async with KubeApi(access, user_agent="test", transport=transport) as api:
        with pytest.raises(KubeUnavailableError):
            await api.get("/api/v1/x")


async def test_a_response_that_is_not_json_is_unavailable(api_to: ApiTo) -> None:
    """A proxy in between may answer with anything."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with api_to(handler) as api:
        with pytest.raises(KubeUnavailableError, match="not valid JSON"):
            await api.get("/api/v1/x")


async def test_a_watch_yields_events_across_chunks(api_to: ApiTo) -> None:
    """Events are cut at line ends, wherever the chunks end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in (b'{"type":"ADDED","obj', b'ect":{"a":1}}\n{"type":"BOOKMARK","object":{}}\n{"type":"ADD'):
            await response.write(chunk)
        return response

    async with api_to(handler) as api:
        events = [event async for event in api.watch("/api/v1/x", "5")]
    assert events == [{"type": "ADDED", "object": {"a": 1}}, {"type": "BOOKMARK", "object": {}}]


@pytest.mark.parametrize("inside", [True, False], ids=["as an event", "as the status"])
async def test_a_resource_version_that_is_too_old_expires_the_watch(inside: bool, api_to: ApiTo) -> None:
    """410 means to list again, as HTTP status or inside the stream."""

    async def handler(_: web.Request) -> web.Response:
        if inside:
            return web.Response(text='{"type": "ERROR", "object": {"code": 410, "message": "old"}}\n')
        return web.json_response({"reason": "Expired", "message": "old"}, status=410)

    async with api_to(handler) as api:
        with pytest.raises(WatchExpiredError):
            _ = [event async for event in api.watch("/api/v1/x", "5")]
