"""Which connections are made, kept and used again; every request to a target is one attempt."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule
from chaski_worker.guard.addresses import AddressPolicy, AddressTables
from chaski_worker.guard.refusal import Refusal, RefusalReason
from contract.delivery.targets import OK, FakeResolver, Lab, Target, answering, post

Serve = Callable[..., Awaitable[Target]]
MakeLab = Callable[..., Lab]


async def test_a_connection_is_used_again(serve: Serve, lab: MakeLab) -> None:
    """An answer that was read whole leaves its connection for the next request."""
    target = await serve(answering(OK))
    deliverer = lab(target.url()).deliverer
    outcomes = [await deliverer.deliver(post(target.url())) for _ in range(5)]
    assert all(outcome.delivered for outcome in outcomes)
    assert (target.connections, len(target.requests)) == (1, 5)


async def test_a_connection_that_the_target_closed_is_not_used_again(serve: Serve, lab: MakeLab) -> None:
    """A target may close after any answer without announcing it; that is no failure of the next message."""
    target = await serve(answering(OK, then_close=True))
    deliverer = lab(target.url()).deliverer
    for _ in range(20):
        assert (await deliverer.deliver(post(target.url()))).delivered
    assert (target.connections, len(target.requests)) == (20, 20)


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "POST", "PUT"])
async def test_a_request_on_a_connection_that_breaks_is_not_sent_again(serve: Serve, lab: MakeLab, method: str) -> None:
    """A silent second request would be an attempt that no ladder counts."""

    async def second_breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await target.read_request(reader)

    target = await serve(second_breaks)
    deliverer = lab(target.url()).deliverer
    request = HttpRequest(method, target.url(), (), None)
    first, second = await deliverer.deliver(request), await deliverer.deliver(request)
    assert (first.key, second.key) == ("", "connection")
    assert (target.connections, len(target.requests)) == (1, 2)


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(serve: Serve, lab: MakeLab) -> None:
    """A target that answers twice must not have a later message counted as delivered."""
    failure = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        writer.write(failure if len(target.requests) > 1 else OK)
        await writer.drain()
        await asyncio.sleep(0.05)  # a packet of its own
        writer.write(OK)
        await reader.read()

    target = await serve(twice)
    deliverer = lab(target.url()).deliverer
    assert (await deliverer.deliver(post(target.url()))).delivered
    await asyncio.sleep(0.15)  # the second answer must be there before the next request is written
    assert (await deliverer.deliver(post(target.url()))).key == "500"
    assert target.connections == 2


async def test_nothing_listens(lab: MakeLab, unused_tcp_port: int) -> None:
    """A refused connection is class `connection`."""
    url = f"http://127.0.0.1:{unused_tcp_port}/secret"
    outcome = await lab(url).deliverer.deliver(post(url))
    assert outcome.key == "connection"
    assert "secret" not in outcome.detail
    assert f"127.0.0.1:{unused_tcp_port}" in outcome.detail


async def test_a_name_that_does_not_exist_is_a_connection_error(lab: MakeLab) -> None:
    """The detail says which name."""
    outcome = await lab("http://nowhere.test/").deliverer.deliver(post("http://nowhere.test/"))
    assert (outcome.key, outcome.detail) == ("connection", "no address for nowhere.test: Name or service not known")


@dataclass(frozen=True)
class RefuseListed(AddressPolicy):
    """Refuses what it is given, as (rule, address); a rule of "" is any."""

    listed: frozenset[tuple[str, str]]

    def refusal(self, address: str, rule: AllowRule) -> Refusal | None:
        """Listed is refused."""
        listed = {("", address), (rule.name, address)} & self.listed
        return Refusal(RefusalReason.PRIVATE, "it is on the list") if listed else None


def refuse(*listed: tuple[str, str]) -> RefuseListed:
    """A policy that refuses these."""
    return RefuseListed(frozenset(listed))


async def _through(lab: Lab, url: str) -> tuple[Outcome, list[RefusalReason]]:
    outcome = await lab.deliverer.deliver(post(url))
    return outcome, lab.refusals


@pytest.mark.promise(6)
async def test_no_connection_is_made_where_every_address_is_refused(serve: Serve, lab: MakeLab) -> None:
    """The outcome names an address and why it was refused."""
    target = await serve(answering(OK))
    url = f"http://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1", "127.0.0.2"]]})
    policy = refuse(("", "127.0.0.1"), ("", "127.0.0.2"))
    outcome, refusals = await _through(lab(url, policy=policy, resolver=resolver), url)
    assert (outcome.key, outcome.target) == ("refused", "rule0")
    assert outcome.detail == "127.0.0.1 is not dialled: it is on the list"
    assert refusals == [RefusalReason.PRIVATE]
    assert target.connections == 0


@pytest.mark.promise(6)
@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
async def test_of_mixed_addresses_only_the_allowed_is_dialled(serve: Serve, lab: MakeLab, order: list[str]) -> None:
    """A refused address among good ones is passed over, and counted where it was met."""
    bad = await serve(answering(OK))
    good = await serve(answering(OK), address="127.0.0.2", port=bad.port)
    url = f"http://target.test:{bad.port}/"
    made = lab(url, policy=refuse(("", "127.0.0.1")), resolver=FakeResolver({"target.test": [order]}))
    outcome, refusals = await _through(made, url)
    assert outcome.delivered
    assert refusals == ([RefusalReason.PRIVATE] if order[0] == "127.0.0.1" else [])
    assert (bad.connections, good.connections) == (0, 1)


async def test_an_allowed_address_that_fails_beside_a_refused_one_is_a_connection_error(
    lab: MakeLab, unused_tcp_port: int
) -> None:
    """Something was dialled, so a later attempt may succeed."""
    url = f"http://target.test:{unused_tcp_port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1", "127.0.0.2"]]})
    outcome, refusals = await _through(lab(url, policy=refuse(("", "127.0.0.1")), resolver=resolver), url)
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
    serve: Serve, lab: MakeLab, host: str, address: str | None
) -> None:
    """Neither as a literal that a rule allows nor behind a name."""
    target = await serve(answering(OK))
    url = f"http://{host}:{target.port}/"
    resolver = FakeResolver({"target.test": [[address]]} if address else {})
    outcome, refusals = await _through(lab(url, policy=AddressTables(), resolver=resolver), url)
    assert outcome.key == "refused"
    assert refusals == [RefusalReason.LOOPBACK]
    assert target.connections == 0


@pytest.mark.promise(6)
async def test_a_name_that_changes_its_address_is_judged_again(serve: Serve, lab: MakeLab) -> None:
    """Rebinding: what was good a moment ago says nothing about what is dialled now."""
    target = await serve(answering(OK, then_close=True), address="127.0.0.2")
    url = f"http://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.2"], ["127.0.0.1"]]})
    made = lab(url, policy=refuse(("", "127.0.0.1")), resolver=resolver)
    assert (await made.deliverer.deliver(post(url))).delivered
    for client in made.deliverer._sessions._clients.values():
        client.connector.clear_dns_cache()
    assert (await made.deliverer.deliver(post(url))).key == "refused"


@pytest.mark.promise(6)
async def test_a_connection_of_one_rule_never_serves_another(serve: Serve, lab: MakeLab) -> None:
    """A kept connection is not judged again, so it stays with the rule that it was made under."""
    target = await serve(answering(OK))
    open_rule, closed_rule = AllowRule("open", target.url("/a/")), AllowRule("closed", target.url("/b/"))
    made = lab(open_rule, closed_rule, policy=refuse(("closed", "127.0.0.1")))
    assert (await made.deliverer.deliver(post(target.url("/a/x")))).delivered
    outcome = await made.deliverer.deliver(post(target.url("/b/x")))
    assert (outcome.key, outcome.target) == ("refused", "closed")
    assert len(target.requests) == 1


@pytest.mark.promise(6)
async def test_a_proxy_in_the_environment_is_not_used(
    serve: Serve, lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would dial for us, where no policy looks."""
    target, proxy = await serve(answering(OK)), await serve(answering(OK))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url())
    assert (await lab(target.url()).deliverer.deliver(post(target.url()))).delivered
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
async def test_what_may_not_be_sent_is_not_sent(  # noqa: PLR0917 - a row of the table
    serve: Serve,
    lab: MakeLab,
    method: str,
    url: str | None,
    headers: dict[str, str],
    own: list[tuple[str, str]],
    reason: RefusalReason,
) -> None:
    """A queue's content is judged again before it goes out."""
    target = await serve(answering(OK))
    made = lab(target.url())
    request = HttpRequest(method, url or target.url(), tuple(headers.items()), b"")
    outcome = await made.deliverer.deliver(request, own)
    assert outcome.key == "refused"
    assert made.refusals == [reason]
    assert target.connections == 0


async def test_a_hanging_target_does_not_hold_up_another(serve: Serve, lab: MakeLab) -> None:
    """There is no queue for connections in here: attempts wait for the worker's slots, not inside their timeout."""
    full = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        del writer
        await target.read_request(reader)
        if len(target.requests) == 150:
            full.set()
        await reader.read()

    slow, fast = await serve(hang), await serve(answering(OK))
    deliverer = lab(slow.url(), fast.url(), timeout=10).deliverer
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
async def test_a_connection_past_its_age_is_not_used_again(serve: Serve, lab: MakeLab, refused: bool) -> None:
    """Under steady traffic a name that moves is followed, and the guard judges where it leads now."""
    old = await serve(answering(OK), address="127.0.0.2")
    new = await serve(answering(OK), address="127.0.0.3", port=old.port)
    url = f"http://target.test:{old.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.2"], ["127.0.0.3"]]})
    policy = refuse(("", "127.0.0.3")) if refused else None
    deliverer = lab(url, resolver=resolver, policy=policy, max_age=0.5).deliverer
    began, keys = asyncio.get_running_loop().time(), []
    while asyncio.get_running_loop().time() - began < 1.0:
        keys.append((await deliverer.deliver(post(url))).key)
        for client in deliverer._sessions._clients.values():
            client.connector.clear_dns_cache()  # ten seconds of its own, which a test does not wait for
        await asyncio.sleep(0.01)
    assert old.connections == 1
    assert len(old.requests) > 5
    assert bool(new.connections) is not refused
    assert set(keys) == ({"", "refused"} if refused else {""})
    assert bool(new.requests) is not refused
    before = len(old.requests)
    await deliverer.deliver(post(url))
    assert len(old.requests) == before


async def test_a_request_on_a_connection_past_its_age_finishes(serve: Serve, lab: MakeLab) -> None:
    """Age keeps a connection from further requests; it breaks none off."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        while True:
            await target.read_request(reader)
            await asyncio.sleep(0.3)
            writer.write(OK)

    target = await serve(slow)
    deliverer = lab(target.url(), timeout=5, max_age=0.1).deliverer
    for _ in range(2):
        assert (await deliverer.deliver(post(target.url()))).delivered
    assert (target.connections, len(target.requests)) == (2, 2)


@pytest.mark.slow
async def test_a_name_that_moves_is_followed_within_a_minute(serve: Serve, lab: MakeLab) -> None:
    """The bound that is promised, in real time: a message every 0.1 s, and the name moves after five seconds."""
    old = await serve(answering(OK), address="127.0.0.2")
    new = await serve(answering(OK), address="127.0.0.3", port=old.port)
    url = f"http://target.test:{old.port}/"
    names = {"target.test": [["127.0.0.2"]]}
    deliverer = lab(url, resolver=FakeResolver(names)).deliverer
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
