"""A queue that grows towards the depth to which SQS looks: the route says so from 96,001 messages on, and takes it back.

moto has the route's queues; how many messages lie in them is said by the gate before it, since nobody sends so many here.
"""

import urllib.request
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from support.faults.gate import Asked
from support.operator.processes import Operator, until
from support.operator.routes import Operated

pytestmark = pytest.mark.timeout(400)

_AWS_JSON = "application/x-amz-json-1.0"
# moto tells services apart by this, and looks at no signature.
_SCOPE = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=none"


class Depth:
    """The answers of a queue that holds so many messages."""

    def __init__(self, upstream: str) -> None:
        self.messages = 0
        self._upstream = upstream

    def answer(self, asked: Asked) -> web.Response | None:
        """What moto says, with another number; None where something else is asked."""
        if asked.told != "GetQueueAttributes":
            return None
        headers = {"X-Amz-Target": asked.target, "Content-Type": _AWS_JSON, "Authorization": _SCOPE}
        request = urllib.request.Request(self._upstream, asked.body, headers)  # noqa: S310 - of this machine
        with urllib.request.urlopen(request, timeout=30) as answered:  # noqa: S310 - as above
            told: dict[str, Any] = orjson.loads(answered.read())
        told["Attributes"]["ApproximateNumberOfMessages"] = str(self.messages)
        return web.Response(body=orjson.dumps(told), content_type=_AWS_JSON)


@pytest.fixture
def depth(op: Operator) -> Iterator[Depth]:
    """How many messages every queue holds."""
    made = Depth(op.aws.upstream)
    op.aws.refuse = made.answer
    yield made
    op.aws.refuse = lambda _: None


def test_a_route_says_when_a_queue_nears_what_sqs_looks_at(op: Operator, namespace: str, depth: Depth) -> None:
    """At four fifths of 120,000 it is well, one message more and it warns, in its status and by an Event; then well again."""
    route = Operated(op, namespace)
    depth.messages = 96_000
    route.apply(autoscaling={"mode": "External"})
    route.ready()
    assert route.condition("BacklogLimit")["status"] == "False"
    depth.messages += 1
    said = route.await_condition("BacklogLimit", "True", "NearLimit")
    assert "120,000" in said["message"]
    events = until(lambda: warned(op, namespace), "no Event tells of it")
    assert "120,000" in events[0]["message"] or "120,000" in events[0].get("note", "")
    depth.messages = 10
    route.await_condition("BacklogLimit", "False", "BelowLimit")


def warned(op: Operator, namespace: str) -> list[dict[str, Any]]:
    """The warnings of it."""
    events: list[dict[str, Any]] = op.kube.get("events", "-n", namespace)["items"]
    return [each for each in events if each["reason"] == "BacklogLimit" and each["type"] == "Warning"]
