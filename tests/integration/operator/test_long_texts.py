"""Texts of others that are longer than a condition or an event holds."""

import pytest
from aiohttp import web

from support.faults.recording_proxy import ProxiedRequest
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, until
from support.operator.routes import NAME, OperatedRoute

pytestmark = pytest.mark.timeout(400)  # many waits, each with its own deadline, on a shared machine

LONG = "not allowed: \u00e4\U0001f999 " * 4_000


@pytest.fixture
def route(op: Operator, namespace: str) -> OperatedRoute:
    """A route, not applied yet."""
    return OperatedRoute(op, namespace)


def test_a_long_refusal_of_the_api_server_is_in_the_condition_and_the_event(route: OperatedRoute) -> None:
    """As a webhook's."""
    status = {"kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422, "message": LONG}

    def refuse(asked: ProxiedRequest) -> web.Response | None:
        denied = asked.writes and f"/{route.namespace}/deployments" in asked.path
        return web.json_response(status, status=422) if denied else None

    op = route.op
    op.api.refuse = refuse
    try:
        route.apply()
        assert len(route.await_condition("Ready", "False", "Refused")["message"]) <= 2_048
        until(lambda: "Refused" in reasons_of_events(op.kube, route.namespace), "no event")
    finally:
        op.api.refuse = lambda _: None
    op.kube.kubectl("annotate", "chaskiroute", NAME, "-n", route.namespace, "chaski.dev/reconcile-requested-at=now")
    route.ready()


def reasons_of_events(kube: KubeApi, namespace: str) -> set[str]:
    """The reasons of the events in a namespace."""
    return {str(each["reason"]) for each in kube.get("events", "-n", namespace)["items"]}
