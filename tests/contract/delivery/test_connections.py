"""Which connections are made, kept and reused; every request to a target is one attempt."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule
from chaski_worker.guard.addresses import AddressTables
from chaski_worker.guard.guard import Refusal, RefusalReason
from contract.delivery.targets import OK, DelivererSetup, FakeResolver, Target, post, responding

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]


async def test_a_connection_is_used_again(serve: Serve, make_setup: MakeSetup) -> None:
    """After a complete response the connection is reused for the next request."""
    target = await serve(responding(OK))
    deliverer = make_setup(target.url()).deliverer
    outcomes = [await deliverer.deliver(post(target.url())) for _ in range(5)]
    assert all(outcome.delivered for outcome in outcomes)
    assert (target.connections, len(target.requests)) == (1, 5)


async def test_a_connection_that_the_target_closed_is_not_used_again(serve: Serve, make_setup: MakeSetup) -> None:
    """A target may close after any response without announcing it; that is not a failure of the next message."""
    target = await serve(responding(OK, then_close=True))
    deliverer = make_setup(target.url()).deliverer
    for _ in range(20):
        assert (await deliverer.deliver(post(target.url()))).delivered
    assert (target.connections, len(target.requests)) == (20, 20)


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "POST", "PUT"])
async def test_a_request_on_a_connection_that_breaks_is_not_sent_again(
    serve: Serve, make_setup: MakeSetup, method: str
) -> None:
    """An automatic second request would be an attempt that no ladder counts."""

    async def second_breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await target.read_request(reader)

    target = await serve(second_breaks)
    deliverer = make_setup(target.url()).deliverer
    request = HttpRequest(method, target.url(), (), None)
    first, second = await deliverer.deliver(request), await deliverer.deliver(request)
    assert (first.key, second.key) == ("", "connection")
    assert (target.connections, len(target.requests)) == (1, 2)


async def test_an_unsolicited_response_is_not_taken_for_the_next_one(serve: Serve, make_setup: MakeSetup) -> None:
    """A target that responds twice must not make a later message count as delivered."""
    failure = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        writer.write(failure if len(target.requests) > 1 else OK)
        await writer.drain()
        await asyncio.sleep(0.05)  # a packet of its own
        writer.write(OK)
        await reader.read()

    target = await serve(twice)
    deliverer = make_setup(target.url()).deliverer
    assert (await deliverer.deliver(post(target.url()))).delivered
    await asyncio.sleep(0.15)  # the second response must arrive before the next request is written
    assert (await deliverer.deliver(post(target.url()))).key == "500"
    assert target.connections == 2


async def test_a_closed_port_is_a_connection_error(make_setup: MakeSetup, unused_tcp_port: int) -> None:
    """A refused connection is class `connection`."""
    url = f"http://127.0.0.1:{unused_tcp_port}/secret"
    outcome = await make_setup(url).deliverer.deliver(post(url))
    assert outcome.key == "connection"
    assert "secret" not in outcome.detail
    assert f"127.0.0.1:{unused_tcp_port}" in outcome.detail


async def test_a_name_that_does_not_exist_is_a_connection_error(make_setup: MakeSetup) -> None:
    """The detail says which name."""
    outcome = await make_setup("http://nowhere.test/").deliverer.deliver(post("http://nowhere.test/"))
    assert (outcome.key, outcome.detail) == ("connection", "no address for nowhere.test: Name or service not known")


class RefuseListed(AddressTables):
    """Refuses the given addresses only, as (rule, address); a rule of "" means any."""

    def __init__(self, listed: frozenset[tuple[str, str]]) -> None:
        super().__init__()
        self.listed = listed

    def refusal(self, address: str, rule: AllowRule) -> Refusal | None:
        """Refused where it is listed."""
        listed = {("", address), (rule.name, address)} & self.listed
        return Refusal(RefusalReason.PRIVATE, "it is on the list") if listed else None


def refuse(*listed: tuple[str, str]) -> RefuseListed:
    """A policy that refuses these addresses."""
    return RefuseListed(frozenset(listed))


async def _through(setup: DelivererSetup, url: str) -> tuple[Outcome, list[RefusalReason]]:
    outcome = await setup.deliverer.deliver(post(url))
    return outcome, setup.refusals


@pytest.mark.promise(6)
async def test_no_connection_is_made_where_every_address_is_refused(serve: Serve, make_setup: MakeSetup) -> None:
    """The outcome names an address and why it was refused."""
    target = await serve(responding(OK))
    url = f"http://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1", "127.0.0.2"]]})
    policy = refuse(("", "127.0.0.1"), ("", "127.0.0.2"))
    outcome, refusals = await _through(make_setup(url, policy=policy, resolver=resolver), url)
    assert (outcome.key, outcome.target) == ("refused", "rule0")
    assert outcome.detail == "127.0.0.1 is not dialled: it is on the list"
    assert refusals == [RefusalReason.PRIVATE]
    assert target.connections == 0


@pytest.mark.promise(6)
@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
async def test_only_the_permitted_of_mixed_addresses_is_dialled(
    serve: Serve, make_setup: MakeSetup, order: list[str]
) -> None:
    """A refused address among permitted ones is skipped, and counted."""
    bad = await serve(responding(OK))
    good = await serve(responding(OK), address="127.0.0.2", port=bad.port)
    url = f"http://target.test:{bad.port}/"
    made = make_setup(url, policy=refuse(("", "127.0.0.1")), resolver=FakeResolver({"target.test": [order]}))
    outcome, refusals = await _through(made, url)
    assert outcome.delivered
    assert refusals == ([RefusalReason.PRIVATE] if order[0] == "127.0.0.1" else [])
    assert (bad.connections, good.connections) == (0, 1)


async def test_an_allowed_address_that_fails_beside_a_refused_one_is_a_connection_error(
    make_setup: MakeSetup, unused_tcp_port: int
) -> None:
    """An address was dialled, so a later attempt may succeed."""
    url = f"http://target.test:{unused_tcp_port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1", "127.0.0.2"]]})
    outcome, refusals = await _through(make_setup(url, policy=refuse(("", "127.0.0.1")), resolver=resolver), url)
    assert outcome.key == "connection"
    assert refusals == [RefusalReason.PRIVATE]


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", None),
        ("[::1]", None),
        ("[::ffff:127.0.0.1]", None),
        ("target.test", "127.0.0.1"),
        ("target.test", "::1"),
    ],
)
async def test_loopback_is_not_dialled_unless_permitted(
    serve: Serve, make_setup: MakeSetup, host: str, address: str | None
) -> None:
    """Neither as a literal that a rule allows nor behind a name."""
    target = await serve(responding(OK))
    url = f"http://{host}:{target.port}/"
    resolver = FakeResolver({"target.test": [[address]]} if address else {})
    outcome, refusals = await _through(make_setup(url, policy=AddressTables(), resolver=resolver), url)
    assert outcome.key == "refused"
    assert refusals == [RefusalReason.LOOPBACK]
    assert target.connections == 0


@pytest.mark.promise(6)
async def test_a_name_that_changes_its_address_is_judged_again(serve: Serve, make_setup: MakeSetup) -> None:
    """Rebinding: an earlier permitted address says nothing about the address dialled now."""
    target = await serve(responding(OK, then_close=True), address="127.0.0.2")
    url = f"http://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.2"], ["127.0.0.1"]]})
    made = make_setup(url, policy=refuse(("", "127.0.0.1")), resolver=resolver)
    assert (await made.deliverer.deliver(post(url))).delivered
    for client in made.deliverer.http._clients._clients.values():
        client.connector.clear_dns_cache()
    assert (await made.deliverer.deliver(post(url))).key == "refused"


@pytest.mark.promise(6)
async def test_a_connection_of_one_rule_never_serves_another(serve: Serve, make_setup: MakeSetup) -> None:
    """A kept connection is not judged again, so it only serves the rule that it was made under."""
    target = await serve(responding(OK))
    open_rule, closed_rule = AllowRule("open", target.url("/a/")), AllowRule("closed", target.url("/b/"))
    made = make_setup(open_rule, closed_rule, policy=refuse(("closed", "127.0.0.1")))
    assert (await made.deliverer.deliver(post(target.url("/a/x")))).delivered
    outcome = await made.deliverer.deliver(post(target.url("/b/x")))
    assert (outcome.key, outcome.target) == ("refused", "closed")
    assert len(target.requests) == 1


@pytest.mark.promise(6)
async def test_a_proxy_in_the_environment_is_not_used(
    serve: Serve, make_setup: MakeSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would dial for us, where no policy is enforced."""
    target, proxy = await serve(responding(OK)), await serve(responding(OK))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url())
    assert (await make_setup(target.url()).deliverer.deliver(post(target.url()))).delivered
    assert (proxy.connections, target.connections) == (0, 1)


NOT_SENT = [
    pytest.param("POST", "http://other.test/", {}, [], RefusalReason.HOST, id="host"),
    pytest.param("CONNECT", None, {}, [], RefusalReason.METHOD, id="method"),
    pytest.param(
        "GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET", None, {}, [], RefusalReason.METHOD, id="method with a request"
    ),
    pytest.param("POST", None, {"Host": "other.test"}, [], RefusalReason.HEADER, id="Host"),
    pytest.param("POST", None, {"Transfer-Encoding": "chunked"}, [], RefusalReason.HEADER, id="Transfer-Encoding"),
    pytest.param("POST", None, {"X-A": "a\r\nX-B: c"}, [], RefusalReason.HEADER, id="line break"),
    pytest.param("POST", None, {}, [("traceparent", "a\r\nb: c")], RefusalReason.HEADER, id="line break in ours"),
]


@pytest.mark.promise(6)
@pytest.mark.parametrize(("method", "url", "headers", "own", "reason"), NOT_SENT)
async def test_an_invalid_request_is_not_sent(  # noqa: PLR0917 - a row of the table
    serve: Serve,
    make_setup: MakeSetup,
    method: str,
    url: str | None,
    headers: dict[str, str],
    own: list[tuple[str, str]],
    reason: RefusalReason,
) -> None:
    """A queue's content is validated again before it is sent."""
    target = await serve(responding(OK))
    made = make_setup(target.url())
    request = HttpRequest(method, url or target.url(), tuple(headers.items()), b"")
    outcome = await made.deliverer.deliver(request, own)
    assert outcome.key == "refused"
    assert made.refusals == [reason]
    assert target.connections == 0


async def test_a_hanging_target_does_not_delay_another(serve: Serve, make_setup: MakeSetup) -> None:
    """Attempts wait for the worker's slots, not for a connection inside their timeout."""
    full = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        del writer
        await target.read_request(reader)
        if len(target.requests) == 150:
            full.set()
        await reader.read()

    slow, fast = await serve(hang), await serve(responding(OK))
    deliverer = make_setup(slow.url(), fast.url(), timeout=10).deliverer
    attempts = [asyncio.create_task(deliverer.deliver(post(slow.url()))) for _ in range(150)]
    async with asyncio.timeout(5):
        await full.wait()
    outcome = await deliverer.deliver(post(fast.url()))
    assert outcome.delivered
    for attempt in attempts:
        attempt.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)


@pytest.mark.promise(6)
@pytest.mark.parametrize("refused", [False, True], ids=["allowed", "refused"])
async def test_a_connection_past_its_age_is_not_used_again(serve: Serve, make_setup: MakeSetup, refused: bool) -> None:
    """Under steady traffic a changed address of a name is followed, and the guard judges the new address."""
    old = await serve(responding(OK), address="127.0.0.2")
    new = await serve(responding(OK), address="127.0.0.3", port=old.port)
    url = f"http://target.test:{old.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.2"], ["127.0.0.3"]]})
    policy = refuse(("", "127.0.0.3")) if refused else None
    deliverer = make_setup(url, resolver=resolver, policy=policy, max_age=0.5).deliverer
    began, keys = asyncio.get_running_loop().time(), []
    while asyncio.get_running_loop().time() - began < 1.0:
        keys.append((await deliverer.deliver(post(url))).key)
        for client in deliverer.http._clients._clients.values():
            client.connector.clear_dns_cache()  # the client's cache of ten seconds, for which a test does not wait
        await asyncio.sleep(0.01)
    assert old.connections == 1
    assert len(old.requests) > 5
    assert bool(new.connections) is not refused
    assert set(keys) == ({"", "refused"} if refused else {""})
    assert bool(new.requests) is not refused
    before = len(old.requests)
    await deliverer.deliver(post(url))
    assert len(old.requests) == before


async def test_a_request_on_a_connection_past_its_age_finishes(serve: Serve, make_setup: MakeSetup) -> None:
    """An old connection gets no further requests; a request under way is finished."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        while True:
            await target.read_request(reader)
            await asyncio.sleep(0.3)
            writer.write(OK)

    target = await serve(slow)
    deliverer = make_setup(target.url(), timeout=5, max_age=0.1).deliverer
    for _ in range(2):
        assert (await deliverer.deliver(post(target.url()))).delivered
    assert (target.connections, len(target.requests)) == (2, 2)


@pytest.mark.slow
async def test_a_changed_address_is_used_within_a_minute(serve: Serve, make_setup: MakeSetup) -> None:
    """The promised bound, in real time: a message every 0.1 s, and the name changes its address after five seconds."""
    old = await serve(responding(OK), address="127.0.0.2")
    new = await serve(responding(OK), address="127.0.0.3", port=old.port)
    url = f"http://target.test:{old.port}/"
    names = {"target.test": [["127.0.0.2"]]}
    deliverer = make_setup(url, resolver=FakeResolver(names)).deliverer
    loop = asyncio.get_running_loop()
    moved_at = loop.time() + 5
    first: float | None = None
    while loop.time() < moved_at + 75:
        if loop.time() >= moved_at:
            names["target.test"] = [["127.0.0.3"]]
        before = len(old.requests)
        assert (await deliverer.deliver(post(url))).delivered
        if len(old.requests) == before and first is None:
            first = loop.time()
        assert first is None or len(old.requests) == before
        await asyncio.sleep(0.1)
    assert first is not None
    assert 0 < first - moved_at <= 60
    assert new.requests
