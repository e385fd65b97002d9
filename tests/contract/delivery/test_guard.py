"""Forbidden addresses are not dialled, however they arise: from a literal, a DNS response, a redirect, a race.

No test here connects to a foreign address: names are answered from tables, and where a public address is let through,
the socket factory that is asked for it makes none.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from aiohttp.connector import AddrInfoType

from chaski_core.route.model import AllowRule
from chaski_runtime.http.lookups import ADDRESSES_PER_FAMILY
from chaski_worker.guard.addresses import AddressTables, plain_socket
from chaski_worker.guard.guard import Refusal, RefusalReason
from contract.delivery.targets import OK, DelivererSetup, FakeResolver, Target, post, responding

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]
R = RefusalReason


@dataclass
class NoSockets:
    """A factory that records the permitted addresses, and connects to none."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, info: AddrInfoType) -> socket.socket:
        """Fails as a closed port does."""
        self.asked.append(str(info[4][0]))
        raise ConnectionRefusedError(111, "Connection refused")


OWN = ("172.20.0.1", "10.9.8.7")  # the API server, this Pod
REFUSED = [
    *(("127.0.0.1", R.LOOPBACK), ("::1", R.LOOPBACK), ("::", R.RESERVED), ("0.0.0.0", R.RESERVED)),
    *(("169.254.169.254", R.METADATA), ("169.254.170.2", R.METADATA), ("169.254.170.23", R.METADATA)),
    *(("fd00:ec2::23", R.METADATA), ("fd00:ec2::254", R.METADATA), ("::ffff:169.254.169.254", R.METADATA)),
    *(("::ffff:7f00:1", R.LOOPBACK), ("64:ff9b::a9fe:a9fe", R.EMBEDDED), ("64:ff9b:1::a9fe:a9fe", R.EMBEDDED)),
    *(("2002:a9fe:a9fe::1", R.EMBEDDED), ("2001:0:a9fe:a9fe::1", R.EMBEDDED)),
    *(("::169.254.169.254", R.EMBEDDED), ("::ffff:0:a9fe:a9fe", R.EMBEDDED)),
    *(("fe80::1", R.METADATA), ("fec0::1", R.RESERVED)),
    *(("100.100.100.200", R.METADATA), ("192.0.0.192", R.METADATA), ("168.63.129.16", R.METADATA)),
    *(("224.0.0.1", R.RESERVED), ("255.255.255.255", R.RESERVED), ("240.0.0.1", R.RESERVED), ("ff02::1", R.RESERVED)),
]
PRIVATE = ["10.0.0.1", "172.20.0.2", "192.168.1.1", "100.64.0.1", "fd7a:115c:a1e0::1"]
EVERYTHING = ("0.0.0.0/0", "::/0")


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _rule(host: str, cidrs: tuple[str, ...]) -> AllowRule:
    return AllowRule("rule", f"http://{host}/", cidrs=cidrs)


def _guarded(make_setup: MakeSetup, rule: AllowRule, answers: Sequence[str] = ()) -> tuple[DelivererSetup, NoSockets]:
    factory = NoSockets()
    resolver = FakeResolver({"target.test": [answers]} if answers else {})
    return make_setup(rule, policy=AddressTables(own=OWN), resolver=resolver, make_socket=factory, timeout=10), factory


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("address", "reason", "cidrs"),
    [
        *((address, reason, EVERYTHING) for address, reason in REFUSED),
        *((address, R.OWN, EVERYTHING) for address in OWN),
        *((address, R.PRIVATE, ()) for address in PRIVATE),
    ],
)
@pytest.mark.parametrize("way", ["literal", "answer"])
async def test_an_address_of_the_tables_is_not_dialled(
    make_setup: MakeSetup, address: str, reason: RefusalReason, cidrs: tuple[str, ...], way: str
) -> None:
    """Neither as a literal that a rule allows nor as the answer of an allowed name, each for its own reason."""
    host = _literal(address) if way == "literal" else "target.test"
    made, factory = _guarded(make_setup, _rule(host, cidrs), [address] if way == "answer" else [])
    outcome = await made.deliverer.deliver(post(f"http://{host}/"))
    assert (outcome.key, outcome.target) == ("refused", "rule")
    assert " is not dialled: " in outcome.detail
    assert made.refusals == [reason]
    assert factory.asked == []


class CountingTables(AddressTables):
    """Counts judgements."""

    judged = 0

    def refusal(self, address: str, rule: AllowRule) -> Refusal | None:
        """As the tables judge."""
        self.judged += 1
        return super().refusal(address, rule)


@pytest.mark.promise(9)
@pytest.mark.parametrize(
    ("answers", "key"),
    [
        ([f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1_000)], "refused"),
        ([f"8.8.{number // 250}.{number % 250 + 1}" for number in range(1_000)], "connection"),
        ([f"2606:4700::{number:x}" for number in range(1, 1_001)], "connection"),
    ],
    ids=["private", "closed", "closed, IPv6"],
)
async def test_a_thousand_addresses_of_a_name_cost_an_attempt_a_few_dials(
    make_setup: MakeSetup, answers: list[str], key: str
) -> None:
    """Each of the first ones is judged and dialled once; with all of them, again and again, a target would take the CPU of the worker."""
    factory, tables = NoSockets(), CountingTables(own=OWN)
    resolver = FakeResolver({"target.test": [answers]})
    made = make_setup(_rule("target.test", ()), policy=tables, resolver=resolver, make_socket=factory, timeout=30)
    outcome = await made.deliverer.deliver(post("http://target.test/"))
    assert outcome.key == key
    assert tables.judged == ADDRESSES_PER_FAMILY
    assert sorted(factory.asked) == (sorted(answers[:ADDRESSES_PER_FAMILY]) if key == "connection" else [])


@pytest.mark.parametrize(
    ("host", "answers", "cidrs", "dialled"),
    [
        pytest.param("target.test", ["8.8.8.8"], (), ["8.8.8.8"], id="public answer"),
        pytest.param("xn--bcher-kva.example", ["8.8.8.8"], (), ["8.8.8.8"], id="IDN"),
        pytest.param("[2606:4700::1111]", [], (), ["2606:4700::1111"], id="public literal"),
        pytest.param("inbox.helpdesk.svc", ["10.0.0.1"], ("10.0.0.0/8",), ["10.0.0.1"], id="service with cidrs"),
        pytest.param("target.test", ["fd7a:115c:a1e0::1"], ("fd00::/8",), ["fd7a:115c:a1e0::1"], id="ULA with cidrs"),
    ],
)
async def test_allowed_addresses_are_dialled(
    make_setup: MakeSetup, host: str, answers: list[str], cidrs: tuple[str, ...], dialled: list[str]
) -> None:
    """The guard permits allowed addresses."""
    factory = NoSockets()
    resolver = FakeResolver({host: [answers]} if answers else {})
    made = make_setup(
        _rule(host, cidrs), policy=AddressTables(own=OWN), resolver=resolver, make_socket=factory, timeout=10
    )
    outcome = await made.deliverer.deliver(post(f"http://{host}/"))
    assert outcome.key == "connection"
    assert made.refusals == []
    assert factory.asked == dialled


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "host", ["kubernetes.default.svc", "KUBERNETES.default.svc.", "kubernetes.default.svc.cluster.local"]
)
async def test_the_api_server_is_refused_by_name_before_it_is_resolved(make_setup: MakeSetup, host: str) -> None:
    """Whatever the rule and its ranges allow."""
    resolver = FakeResolver({"kubernetes.default.svc": [["10.0.0.1"]]})
    made = make_setup(
        _rule(host, EVERYTHING), policy=AddressTables(own=OWN), resolver=resolver, make_socket=NoSockets()
    )
    outcome = await made.deliverer.deliver(post(f"http://{host}/"))
    assert outcome.key == "refused"
    assert made.refusals == [R.OWN]
    assert resolver.asked == []


@pytest.mark.promise(6)
async def test_a_name_is_judged_at_each_connect(make_setup: MakeSetup) -> None:
    """Rebinding: a public address, then the machine itself. The first permits nothing for the second."""
    factory = NoSockets()
    resolver = FakeResolver({"target.test": [["8.8.8.8"], ["127.0.0.1"]]})
    made = make_setup(
        _rule("target.test", ()), policy=AddressTables(), resolver=resolver, make_socket=factory, timeout=10
    )
    first = await made.deliverer.deliver(post("http://target.test/"))
    for client in made.deliverer.http._clients._clients.values():
        client.connector.clear_dns_cache()
    second = await made.deliverer.deliver(post("http://target.test/"))
    assert (first.key, second.key) == ("connection", "refused")
    assert factory.asked == ["8.8.8.8"]


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1", "8.8.8.8"],
        ["8.8.8.8", "169.254.169.254"],
        ["2606:4700::1111", "127.0.0.1", "::1", "8.8.8.8"],
        ["::1", "10.0.0.1", "64:ff9b::a9fe:a9fe", "8.8.8.8"],
    ],
    ids=["private first", "private last", "race of families", "only one is good"],
)
async def test_only_the_public_of_mixed_addresses_are_dialled(make_setup: MakeSetup, answers: list[str]) -> None:
    """Also in the race between IPv4 and IPv6; each skipped address is counted."""
    made, factory = _guarded(make_setup, _rule("target.test", ()), answers)
    outcome = await made.deliverer.deliver(post("http://target.test/"))
    public = {"8.8.8.8", "2606:4700::1111"} & set(answers)
    assert outcome.key == "connection"
    assert set(factory.asked) == public
    assert len(made.refusals) == len(answers) - len(public)


@pytest.mark.promise(6)
@pytest.mark.parametrize("status", ["302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_the_metadata_service_makes_no_second_request(
    serve: Serve, make_setup: MakeSetup, status: str
) -> None:
    """The outcome has class 3xx; the only socket was the target's."""
    asked: list[str] = []

    def factory(info: AddrInfoType) -> socket.socket:
        asked.append(str(info[4][0]))
        return plain_socket(info)

    raw = f"HTTP/1.1 {status}\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n".encode()
    target = await serve(responding(raw))
    made = make_setup(target.url(), _rule("169.254.169.254", EVERYTHING), make_socket=factory)
    outcome = await made.deliverer.deliver(post(target.url()))
    assert outcome.key == status[:3]
    assert (asked, len(target.requests)) == (["127.0.0.1"], 1)


@pytest.mark.promise(6)
async def test_every_connection_is_made_by_the_factory(serve: Serve, make_setup: MakeSetup) -> None:
    """With real sockets: the policy judged each connection to the targets before it was made, a kept one once."""
    asked: list[str] = []

    def factory(info: AddrInfoType) -> socket.socket:
        asked.append(str(info[4][0]))
        return plain_socket(info)

    first = await serve(responding(OK))
    second = await serve(responding(OK, then_close=True), address="127.0.0.2")
    named = f"http://target.test:{second.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.2"]]})
    made = make_setup(first.url(), named, resolver=resolver, make_socket=factory)
    for url in (first.url(), named, first.url(), named):
        assert (await made.deliverer.deliver(post(url))).delivered
    assert asked == ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
    assert (first.connections, second.connections) == (1, 2)


@pytest.mark.promise(6)
async def test_a_kept_connection_serves_only_what_the_route_still_allows(serve: Serve, make_setup: MakeSetup) -> None:
    """The allow-list is checked for every request, not for every connection."""
    target = await serve(responding(OK))
    made = make_setup(target.url("/ok/"))
    assert (await made.deliverer.deliver(post(target.url("/ok/1")))).delivered
    outcome = await made.deliverer.deliver(post(target.url("/admin")))
    assert outcome.key == "refused"
    assert made.refusals == [R.PATH]
    assert (target.connections, len(target.requests)) == (1, 1)
