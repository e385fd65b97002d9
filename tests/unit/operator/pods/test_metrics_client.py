"""Scraping of worker Pods."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from chaski_operator.pods.metrics_client import Scraper, pod_endpoint
from unit.operator.pods.test_worker_metrics import page, reading


@pytest.fixture
async def pods() -> AsyncIterator[str]:
    """Pods that answer, hang, fail, redirect or send too much, by path."""

    async def respond(request: web.Request) -> web.Response:
        kind = request.path.strip("/")
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "redirect":
            raise web.HTTPFound("/good")
        if kind == "flood":
            return web.Response(body=b"x" * (17 * 1024 * 1024))
        return web.Response(text=page(reading(2)), status=500 if kind == "fail" else 200)

    app = web.Application()
    app.router.add_get("/{kind}", respond)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_pods_without_a_valid_response_are_unresponsive(pods: str) -> None:
    """None of them affects the others."""
    scraper = Scraper(seconds=2.0)
    try:
        urls = [f"{pods}/{kind}" for kind in ("good", "hang", "fail", "flood", "redirect")]
        found = await scraper.scrape([*urls, "http://127.0.0.1:1/metrics"])
    finally:
        await scraper.close()
    assert (found.reporting, found.unresponsive, found.lanes) == (1, 5, 2)


def test_endpoint_is_the_named_port_of_a_ready_pod() -> None:
    """Not ready while the Pod is being deleted or has no address."""
    pod = {
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"ports": [{"name": "metrics", "containerPort": 1234}]}]},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    endpoint = pod_endpoint(pod)
    assert (endpoint.url, endpoint.ready, endpoint.labels) == ("http://10.0.0.1:1234/metrics", True, {"a": "b"})
    assert not pod_endpoint({**pod, "metadata": {"name": "p", "deletionTimestamp": "now"}}).ready
    assert not pod_endpoint({**pod, "status": {"podIP": "10.0.0.1"}}).ready
    assert not pod_endpoint({**pod, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}).ready
    bare = pod_endpoint({"metadata": {"name": "p"}, "spec": {"containers": [{}]}, "status": {"podIP": "fd00::1"}})
    assert (bare.url, bare.ready) == ("http://[fd00::1]:9090/metrics", False)
