"""Signed requests, as a target receives them."""

import base64
import time
from collections.abc import Awaitable, Callable

import pytest
from standardwebhooks import Webhook

from chaski_core.message.envelope import HttpRequest
from chaski_core.route.model import AllowRule, SigningScheme
from chaski_worker.delivery.signing import sign_requests, watch_keys
from contract.delivery.targets import DelivererSetup, Target, responding
from support.clocks import StillClock

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
FAILS, WORKS = (b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status for status in (500, 200))


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


@pytest.mark.parametrize("body", [b'{"a":1}', b"", None, "grüße".encode()], ids=repr)
async def test_every_attempt_has_its_own_signature_and_the_same_id(
    serve: Serve, make_setup: MakeSetup, tmp_path_factory: pytest.TempPathFactory, body: bytes | None
) -> None:
    """A target that verifies with the published library accepts each attempt, and recognises a repeat by its id."""
    folder = tmp_path_factory.mktemp("signing")
    (folder / "current").write_text(KEY)
    clock = StillClock(round(time.time() * 1_000))
    target = await serve(responding(FAILS, WORKS))
    rule = AllowRule("signed", target.url())
    sign = sign_requests({rule: watch_keys(folder, SigningScheme.V1, time.monotonic)}, clock)
    deliverer = make_setup(rule, timeout=30, middlewares=[sign]).deliverer
    request = HttpRequest("POST", target.url(), (("Content-Type", "text/plain"),), body)
    assert (await deliverer.deliver(request, number=1)).key == "500"
    clock.pass_time(5)
    assert (await deliverer.deliver(request, number=2)).delivered
    first, second = (_headers(head) for head in target.requests)
    for headers in (first, second):
        Webhook(KEY).verify(body or b"", headers, json_parse=False)
    assert first["webhook-id"] == second["webhook-id"] == "m-1"
    assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 5
    assert first["webhook-signature"] != second["webhook-signature"]
    assert [headers["chaski-attempt"] for headers in (first, second)] == ["1", "2"]


async def test_a_producer_can_not_set_the_signature_headers(serve: Serve, make_setup: MakeSetup) -> None:
    """The headers are refused in a message."""
    target = await serve(responding(WORKS))
    request = HttpRequest("POST", target.url(), (("Webhook-Signature", "v1,x"),), b"")
    assert (await make_setup(target.url()).deliverer.deliver(request)).key == "refused"
    assert target.connections == 0
