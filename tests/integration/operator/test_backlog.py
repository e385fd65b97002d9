"""The condition BacklogLimit: True from 96,001 messages in a queue on, False again below.

moto has the route's queues; the gate before it replaces the number of messages.
"""

import urllib.request
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from support.faults.recording_proxy import ProxiedRequest
from support.operator.processes import Operator, until
from support.operator.routes import OperatedRoute

pytestmark = pytest.mark.timeout(400)

_AWS_JSON = "application/x-amz-json-1.0"
# moto determines the service from this header, and checks no signature.
_SCOPE = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=none"


class Depth:
    """Responses of GetQueueAttributes with a given number of messages."""

    def __init__(self, upstream: str) -> None:
        self.messages = 0
        self._upstream = upstream

    def respond(self, asked: ProxiedRequest) -> web.Response | None:
        """Moto's response with another number; None for other operations."""
        if asked.summary != "GetQueueAttributes":
            return None
        headers = {"X-Amz-Target": asked.target, "Content-Type": _AWS_JSON, "Authorization": _SCOPE}
        request = urllib.request.Request(self._upstream, asked.body, headers)  # noqa: S310 - of this machine
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - as above
            document: dict[str, Any] = orjson.loads(response.read())
        document["Attributes"]["ApproximateNumberOfMessages"] = str(self.messages)
        return web.Response(body=orjson.dumps(document), content_type=_AWS_JSON)


@pytest.fixture
def depth(op: Operator) -> Iterator[Depth]:
    """The number of messages in every queue."""
    made = Depth(op.aws.upstream)
    op.aws.refuse = made.respond
    yield made
    op.aws.refuse = lambda _: None


def test_queue_near_the_limit_of_sqs_is_reported(op: Operator, namespace: str, depth: Depth) -> None:
    """One message above 80 % of 120,000: a condition and a warning event; later it is False again."""
    route = OperatedRoute(op, namespace)
    depth.messages = 96_000
    route.apply(autoscaling={"mode": "External"})
    route.ready()
    assert route.condition("BacklogLimit")["status"] == "False"
    depth.messages += 1
    condition = route.await_condition("BacklogLimit", "True", "NearLimit")
    assert "120,000" in condition["message"]
    events = until(lambda: warned(op, namespace), "no event")
    assert "120,000" in events[0]["message"] or "120,000" in events[0].get("note", "")
    depth.messages = 10
    route.await_condition("BacklogLimit", "False", "BelowLimit")


def warned(op: Operator, namespace: str) -> list[dict[str, Any]]:
    """The warning events."""
    events: list[dict[str, Any]] = op.kube.get("events", "-n", namespace)["items"]
    return [each for each in events if each["reason"] == "BacklogLimit" and each["type"] == "Warning"]
