"""Scraping of worker Pods."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from chaski_operator.pods.metrics_client import Scraper, pod_endpoint
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process import health
from chaski_worker.metrics import WorkerMetrics
from support.serving import served_app
from unit.operator.pods.test_worker_metrics import page, reading


@pytest.fixture
async def pods() -> AsyncIterator[str]:
    """Pods that answer, hang, fail, redirect, compress or send too much, by path."""
    bomb = gzip.compress(page(reading(2)).encode() + b"#" * 16 * 1024 * 1024, compresslevel=1)

    async def respond(request: web.Request) -> web.Response:
        kind = request.path.strip("/")
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "redirect":
            raise web.HTTPFound("/good")
        if kind == "flood":
            return web.Response(text=page(reading(2)) + "#" * 1024 * 1024)
        if kind == "bomb":
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
        if kind == "garbage":
            return web.Response(body=bytes(range(256)) * 1024)
        return web.Response(text=page(reading(2)), status=500 if kind == "fail" else 200)

    app = web.Application()
    app.router.add_get("/{kind}", respond)
    async with served_app(app) as url:
        yield url


async def test_pods_without_a_valid_response_are_unresponsive(pods: str) -> None:
    """None of them affects the others."""
    scraper = Scraper(seconds=8.0)
    try:
        urls = [f"{pods}/{kind}" for kind in ("good", "hang", "fail", "flood", "bomb", "garbage", "redirect")]
        found = await scraper.scrape([*urls, "http://127.0.0.1:1/metrics"])
    finally:
        await scraper.close()
    assert (found.reporting, found.unresponsive, found.lanes) == (1, 7, 2)


async def test_only_the_metrics_that_are_read_are_asked_for() -> None:
    """A worker of a route with many targets has a whole page of several MiB."""
    registry = MetricsRegistry()
    metrics = WorkerMetrics(registry)
    metrics.observe_lanes(lambda: [reading(2)])
    for number in range(2_000):
        target = f"{number:04}" * 15
        metrics.attempts.observe(("n", "r", "q", "first", target, "delivered", "none"), 0.1)
    server = await health.start("127.0.0.1", 0, metrics=registry, live=lambda: None, ready=lambda: None)
    scraper = Scraper(seconds=60.0)
    try:
        found = await scraper.scrape([f"http://127.0.0.1:{server.port}/metrics"])
    finally:
        await scraper.close()
        await server.close()
    assert len(registry.render()) > 4 * 1024 * 1024
    assert (found.reporting, found.lanes, found.attempts) == (1, 2, 2_000)


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
