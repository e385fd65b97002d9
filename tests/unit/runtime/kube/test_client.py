"""The client of the Kubernetes API against a fake server; `tests/integration` uses a real one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from chaski_runtime.kube.client import KubeApi, KubeRefusedError, KubeUnavailableError, WatchExpiredError, object_path
from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError, kube_access

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def api_to(handler: Handler) -> AsyncIterator[KubeApi]:
    """A client of a server with one handler for all paths."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with KubeApi(KubeAccess(f"http://127.0.0.1:{port}", "default", token="t"), user_agent="test") as api:
            yield api
    finally:
        await runner.cleanup()


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


async def test_apply_sends_manager_and_token() -> None:
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


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (409, "Conflict"), (422, "Invalid")])
async def test_a_refusal_carries_status_reason_and_message(status: int, reason: str) -> None:
    """The error of a 4xx response has its status and reason."""
    async with api_to(refusal(status, reason)) as api:
        with pytest.raises(KubeRefusedError, match="refused by the test") as caught:
            await api.get("/api/v1/x")
    assert (caught.value.status, caught.value.reason) == (status, reason)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_overload_and_failure_are_unavailable(status: int) -> None:
    """429 and 5xx raise the error that callers retry."""
    async with api_to(refusal(status, "Busy")) as api:
        with pytest.raises(KubeUnavailableError):
            await api.get("/api/v1/x")


async def test_a_missing_object_is_none() -> None:
    """404 is not an error for `find` and `delete`."""
    async with api_to(refusal(404, "NotFound")) as api:
        assert await api.find("/api/v1/x") is None
        assert await api.delete("/api/v1/x") is False


async def test_an_unreachable_server_is_unavailable() -> None:
    """A refused connection raises the error that callers retry."""
    async with KubeApi(KubeAccess("http://127.0.0.1:1", "default"), user_agent="test") as api:
        with pytest.raises(KubeUnavailableError):
            await api.get("/api/v1/x")


async def test_a_response_that_is_not_json_is_unavailable() -> None:
    """A proxy in between may answer with anything."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with api_to(handler) as api:
        with pytest.raises(KubeUnavailableError, match="not valid JSON"):
            await api.get("/api/v1/x")


async def test_a_watch_yields_events_across_chunks() -> None:
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
async def test_a_resource_version_that_is_too_old_expires_the_watch(inside: bool) -> None:
    """410 means to list again, as HTTP status or inside the stream."""

    async def handler(_: web.Request) -> web.Response:
        if inside:
            return web.Response(text='{"type": "ERROR", "object": {"code": 410, "message": "old"}}\n')
        return web.json_response({"reason": "Expired", "message": "old"}, status=410)

    async with api_to(handler) as api:
        with pytest.raises(WatchExpiredError):
            _ = [event async for event in api.watch("/api/v1/x", "5")]


KUBECONFIG = """
current-context: here
contexts: [{name: here, context: {cluster: c, user: u, namespace: n}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1/"}}]
users: [{name: u, user: %s}]
"""


def test_a_kubeconfig_is_read(tmp_path: Path) -> None:
    """Server, namespace and a token beside the file."""
    (tmp_path / "config").write_text(KUBECONFIG % "{tokenFile: token}")
    (tmp_path / "token").write_text("secret\n")
    access = kube_access({"KUBECONFIG": str(tmp_path / "config")})
    assert (access.server, access.namespace, access.bearer_token()) == ("http://127.0.0.1:1", "n", "secret")


@pytest.mark.parametrize("text", [KUBECONFIG % "{exec: {}}", "contexts: []", "{"], ids=["plugin", "empty", "not YAML"])
def test_a_kubeconfig_that_can_not_be_used_is_an_error(tmp_path: Path, text: str) -> None:
    """The error names the file."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(NoKubeAccessError, match="config"):
        kube_access({"KUBECONFIG": str(tmp_path / "config")})


def test_without_any_configuration_the_error_names_the_possible_ones(tmp_path: Path) -> None:
    """Neither in a Pod nor with a kubeconfig."""
    with pytest.raises(NoKubeAccessError, match="KUBECONFIG"):
        kube_access({"HOME": str(tmp_path)})
