"""What the operator knows of the Pods of ingest, from their EndpointSlices and responses."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chaski_ingest.activity import PATH, Activity, handler
from chaski_ingest.auth.token_review import Denied
from chaski_operator.pods.ingest_activity import Endpoint, IngestActivity, PodReports, Report, endpoints_of
from chaski_operator.settings import IngestService
from chaski_runtime.kube.client import Object
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from support.until import until

A, B = Endpoint("a", "http://a", serving=True), Endpoint("b", "http://b", serving=True)


def response(epoch: str = "e1", cursor: int = 1, *accepted: str, final: bool = False) -> dict[str, Any]:
    """A response of a Pod."""
    return {"epoch": epoch, "cursor": cursor, "accepted": list(accepted), "uncertain": [], "final": final}


@pytest.mark.promise(8)
def test_reports_are_complete_while_every_pod_answers() -> None:
    """Without any Pod nothing is known; nor while one is silent for ten seconds, or has never answered."""
    reports = PodReports()
    assert not reports.complete([], 0.0)
    reports.answered("a", response(), 0.0)
    assert reports.complete([A], 10.0)
    assert not reports.complete([A], 10.1)
    assert not reports.complete([A, B], 5.0)
    assert reports.complete([A, Endpoint("b", "http://b", serving=False)], 5.0), "it gets no requests yet"
    reports.answered("b", response(final=True), 5.0)
    assert reports.complete([A, B], 10.0)
    reports.answered("a", response(), 60.0)
    assert reports.complete([A, B], 60.0), "it sends nothing any more"


@pytest.mark.promise(2)
def test_a_pod_that_ends_without_a_last_response_is_lost() -> None:
    """So is a process that was restarted in its Pod; one whose last response was final is not."""
    reports = PodReports()
    assert reports.answered("a", response("e1", 1, "u"), 0.0) == Report(accepted=frozenset({"u"}))
    assert reports.answered("a", response("e1", 2), 1.0) == Report()
    assert reports.answered("a", response("e2", 1), 2.0) == Report(lost=True)
    assert reports.retain(["a"]) == Report()
    assert reports.retain([]) == Report(lost=True)
    reports.answered("b", response(final=True), 3.0)
    assert reports.answered("b", response("e2", 1), 4.0) == Report()
    reports.answered("b", response("e2", 2, final=True), 5.0)
    reports.known("c")  # asked, but never answered
    assert reports.retain([]) == Report()


def test_endpoints_are_read_from_a_slice() -> None:
    """Also those of Pods that end or are not ready; a missing condition counts as true."""
    document = {
        "ports": [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}],
        "endpoints": [
            {"addresses": ["fd00::1"], "targetRef": {"uid": "1", "name": "a"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": True, "terminating": True}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": False, "serving": False}, "targetRef": {"name": "c"}},
        ],
    }
    assert endpoints_of(document) == (
        Endpoint("1", "http://[fd00::1]:9090/v1/activity", serving=True),
        Endpoint("10.0.0.2", "http://10.0.0.2:9090/v1/activity", serving=True),
        Endpoint("c", "http://10.0.0.3:9090/v1/activity", serving=False),
    )
    assert endpoints_of({"ports": [{"name": "http", "port": 1}], "endpoints": [{"addresses": ["10.0.0.1"]}]}) == ()


class Slices:
    """An API server with EndpointSlices of one Pod, which never change."""

    def __init__(self, *ports: int) -> None:
        self.items = [
            {
                "metadata": {"namespace": "chaski", "name": f"s{port}", "resourceVersion": "1"},
                "ports": [{"name": "metrics", "port": port}],
                "endpoints": [{"addresses": ["127.0.0.1"], "targetRef": {"uid": f"pod-{port}"}}],
            }
            for port in ports
        ]

    async def get(self, path: str, **query: str) -> Object:
        """The list."""
        assert path == "/apis/discovery.k8s.io/v1/namespaces/chaski/endpointslices"
        assert query["labelSelector"] == "kubernetes.io/service-name=chaski-ingest-metrics"
        return {"metadata": {"resourceVersion": "1"}, "items": self.items}

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[Object]:
        """No event for a long time."""
        del path, version, query
        await asyncio.sleep(3_600)
        yield {}


@asynccontextmanager
async def ingest(activity: Activity) -> AsyncIterator[int]:
    """A Pod of ingest that admits the token `t`; its port."""

    async def authorize(headers: Mapping[str, str]) -> Denied | None:
        return None if headers.get("Authorization") == "Bearer t" else Denied(403, "another account")

    more = {PATH: handler(activity, authorize)}
    server = await health.start(
        "127.0.0.1", 0, metrics=MetricsRegistry(), live=lambda: None, ready=lambda: None, more=more
    )
    try:
        yield server.port
    finally:
        await server.close()


async def test_pods_are_asked_by_http(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the token as it is now; a Pod that hangs delays no other; one that refuses is logged once."""
    token, clock, reports = tmp_path / "token", SystemClock(), list[Report]()
    first, second = Activity("e1", clock.monotonic), Activity("e2", clock.monotonic)
    async with ingest(first) as port, ingest(second) as other:
        hanging = socket.create_server(("127.0.0.1", 0))  # accepts no connection
        slices = Slices(port, other, hanging.getsockname()[1])
        service = IngestService("chaski/chaski-ingest-metrics", token)
        asking = IngestActivity(slices, service, clock, lambda: 0.5, reports.append)  # type: ignore[arg-type]
        task = asyncio.create_task(asking.run())
        try:
            await until(lambda: "so ingest can't be asked" in caplog.text)
            token.write_text("wrong\n")
            await until(lambda: "answered 403" in caplog.text)
            token.write_text("t\n")
            first.note("u1", stored=True)
            second.note("u2", stored=False)
            await until(lambda: len(reports) == 2)
            assert set(reports) == {Report(accepted=frozenset({"u1"})), Report(uncertain=frozenset({"u2"}))}
            assert not asking.complete(), "one of them hangs"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            hanging.close()
