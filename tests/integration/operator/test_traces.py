"""Reconciliations as spans, sent to a local collector."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from support.faults.recording_proxy import ProxiedRequest
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, kubelets, operator
from support.operator.routes import NAME, OperatedRoute
from support.processes.collector import Seen, collector

pytestmark = pytest.mark.timeout(400)

WITHIN = 120.0


def refuse_everything(_: ProxiedRequest) -> web.Response:
    """Denies every call to AWS."""
    body = {"__type": "AccessDeniedException", "message": "denied"}
    return web.json_response(body, status=400, content_type="application/x-amz-json-1.0")


def start(op: Operator, collector_url: str) -> None:
    """Starts the operator and applies a route."""
    op.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector_url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    op.start()
    OperatedRoute(op, op.namespaces[0]).apply()


def failed(spans: list[Seen]) -> list[Seen]:
    """Spans with an error."""
    return [span for span in spans if span.failed]


async def test_reconciliation_is_a_span_with_its_route_and_error(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """A failure while AWS denies the calls, and success afterwards."""
    namespace = await asyncio.to_thread(kube.make_namespace, "traced")
    async with collector() as taken:
        with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
            op.aws.refuse = refuse_everything
            await asyncio.to_thread(start, op, taken.url)
            (bad, *_) = failed(await taken.until(lambda spans: bool(failed(spans)), WITHIN))
            op.aws.refuse = lambda _: None
            known, route = len(taken.spans), OperatedRoute(op, namespace)
            await asyncio.to_thread(lambda: route.apply(delivery={"timeoutSeconds": 41}))
            await taken.until(lambda spans: any(not span.failed for span in spans[known:]), WITHIN)
            assert await asyncio.to_thread(op.stop) == 0
    assert {(span.name, span.service) for span in taken.spans} == {("reconcile", "chaski-operator")}
    assert {span.attributes["chaski.route"] for span in taken.spans} == {f"{namespace}/{NAME}"}
    assert bad.attributes["chaski.reconcile.result"] == "error"
    assert bad.attributes["error.type"] == "ProvisionError"
    good = next(span for span in reversed(taken.spans) if not span.failed)
    assert (good.attributes["chaski.reconcile.result"], "error.type" in good.attributes) == ("ok", False)
