"""Calls: credentials, clocks, sizes, connections, counts."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials

from chaski_aws.http.endpoints import SQS, Endpoint
from chaski_aws.http.transport import AwsTransport, CallLimits
from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage, Sent
from integration.aws.conftest import FaultySqs
from support.aws.adapters import FixedCredentials
from support.faults.proxy import Exchange, Fault, cut, fail_entries, pass_on, refuse, swallow

OLD, NEW = ReadOnlyCredentials("AKOLD", "s", "old"), ReadOnlyCredentials("AKNEW", "s", "new")
FIELDS: Mapping[str, Any] = {"QueueName": "q.fifo"}
EXPIRED = refuse(403, "ExpiredTokenException")


class Rotated:
    """Credentials that are replaced after a refusal."""

    def __init__(self, *others: ReadOnlyCredentials) -> None:
        self._held = OLD
        self._others = list(others)
        self.refused: list[ReadOnlyCredentials] = []

    async def current(self) -> ReadOnlyCredentials:
        """The current credentials."""
        return self._held

    async def replace(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """The next ones, if there are any."""
        self.refused.append(refused)
        if self._others:
            self._held = self._others.pop(0)
        return self._held


def unless(wanted: Callable[[Exchange], bool], fault: Fault) -> Fault:
    """Forwards the requests that match."""

    async def judged(exchange: Exchange) -> None:
        await (pass_on if wanted(exchange) else fault)(exchange)

    return judged


def signed_with(key: str) -> Callable[[Exchange], bool]:
    """Whether a request is signed with a key."""
    return lambda exchange: f"Credential={key}/" in exchange.headers["authorization"]


def transport_to(faulty_sqs: FaultySqs, **options: Any) -> AwsTransport:
    """A transport to the proxy, without delays between tries."""
    options = {"chance": lambda: 0.0, "credentials": FixedCredentials(), **options}
    return AwsTransport(Endpoint(SQS, faulty_sqs.proxy.url, "us-east-1"), **options)


async def test_expired_token_is_replaced_and_the_call_repeated(faulty_sqs: FaultySqs) -> None:
    """The call succeeds, and the next call uses the new one."""
    source, results = Rotated(NEW), []
    transport = transport_to(faulty_sqs, credentials=source, on_request=lambda _, result: results.append(result))
    faulty_sqs.proxy.set_lasting(unless(signed_with("AKNEW"), EXPIRED))
    for _ in range(2):
        assert "QueueUrl" in await transport.call("GetQueueUrl", FIELDS)
    assert source.refused == [OLD]
    assert results == ["credentials", "ok", "ok"]
    await transport.close()


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    "others", [[], [NEW], [NEW, OLD] * 50], ids=["no others", "others that are refused too", "always others"]
)
async def test_refused_credentials_are_an_outage(faulty_sqs: FaultySqs, others: list[ReadOnlyCredentials]) -> None:
    """They can be fixed; until then a process must neither drop its messages nor retry without end."""
    transport = transport_to(faulty_sqs, credentials=Rotated(*others))
    faulty_sqs.proxy.set_lasting(EXPIRED)
    with pytest.raises(BackendUnavailableError, match="ExpiredToken"):
        await transport.call("GetQueueUrl", FIELDS)
    assert len(faulty_sqs.proxy.seen) == (2 if others else 1)
    faulty_sqs.proxy.heal()
    assert "QueueUrl" in await transport.call("GetQueueUrl", FIELDS)
    await transport.close()


@pytest.mark.parametrize("ahead", [3_600, -86_400])
@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "InvalidSignatureException"])
async def test_wrong_clock_is_corrected_by_the_response(faulty_sqs: FaultySqs, ahead: int, code: str) -> None:
    """The first call is repeated with the service's time, later ones use it at once."""
    faulty_sqs.clock.set_wall(ahead)
    day = time.strftime("%Y%m%dT%H", time.gmtime(time.time() + ahead))
    transport = transport_to(faulty_sqs, credentials=Rotated())
    right = unless(
        lambda exchange: exchange.headers["x-amz-date"].startswith(day), refuse(403, code, date=time.time() + ahead)
    )
    faulty_sqs.proxy.set_lasting(right)
    for _ in range(2):
        assert "QueueUrl" in await transport.call("GetQueueUrl", FIELDS)
    assert len(faulty_sqs.proxy.seen) == 3
    await transport.close()


@pytest.mark.parametrize("ahead", [3_600, -86_400, 400 * 86_400])
async def test_wrong_clock_is_corrected_by_a_server_that_checks_it(faulty_sqs: FaultySqs, ahead: int) -> None:
    """Where the refusal and its Date are the server's."""
    faulty_sqs.clock.set_wall(ahead)
    transport = transport_to(faulty_sqs, credentials=Rotated())
    for _ in range(2):
        assert "QueueUrl" in await transport.call("GetQueueUrl", FIELDS)
    assert len(faulty_sqs.proxy.seen) == 3
    await transport.close()


async def test_wrong_key_is_not_mistaken_for_a_wrong_clock(faulty_sqs: FaultySqs) -> None:
    """An invalid signature while the clocks agree causes a load of other credentials."""
    source = Rotated(NEW)
    transport = transport_to(faulty_sqs, credentials=source)
    refusal = refuse(403, "SignatureDoesNotMatch", date=time.time())
    faulty_sqs.proxy.set_lasting(unless(signed_with("AKNEW"), refusal))
    assert "QueueUrl" in await transport.call("GetQueueUrl", FIELDS)
    assert source.refused == [OLD]
    await transport.close()


@pytest.mark.promise(12)
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_response_is_read_up_to_its_limit(faulty_sqs: FaultySqs, chunked: bool) -> None:
    """With any Content-Length, and without one."""
    sent = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal sent
        kind = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000000000"
        await exchange.answer_in_part(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + kind + b"\r\n\r\n")
        piece = b"x" * 65_536
        while sent < 64_000_000:
            await exchange.answer_in_part(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)

    faulty_sqs.proxy.set_lasting(endless)
    transport = transport_to(faulty_sqs)
    with pytest.raises(BackendUnavailableError, match="ResponseTooLong"):
        await transport.call("GetQueueUrl", FIELDS, CallLimits(seconds=5, response_bytes=100_000))
    assert sent < 32_000_000
    await transport.close()


async def test_batch_of_the_largest_messages(faulty_sqs: FaultySqs) -> None:
    """Bodies of more than 1 MiB in total are sent in two calls, and received unchanged in one."""
    messages = [OutgoingMessage(bytes([97 + n]) * 260_000, f"g{n}", f"d{n}") for n in range(5)]
    sent = await faulty_sqs.queue.send(messages)
    assert all(isinstance(each, Sent) for each in sent)
    assert faulty_sqs.requests == [("SendMessageBatch", "ok")] * 2
    taken = await faulty_sqs.queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    assert sorted(message.body for message in taken) == [message.body for message in messages]


@pytest.mark.promise(3)
async def test_second_call_of_a_split_batch_leaves_out_groups_that_failed(faulty_sqs: FaultySqs) -> None:
    """A later message of a subject must not be sent where an earlier one was not."""
    messages = [OutgoingMessage(b"x" * 260_000, group, f"d{n}") for n, group in enumerate("abcdbe")]
    faulty_sqs.proxy.plan("SendMessageBatch", fail_entries("1"))
    sent = await faulty_sqs.queue.send(messages)  # four fit into the first call
    assert [getattr(each, "code", "sent") for each in sent] == [
        "sent",
        "InternalError",
        "sent",
        "sent",
        "NotSent",
        "sent",
    ]
    assert faulty_sqs.proxy.seen == ["SendMessageBatch"] * 2
    assert sorted(await faulty_sqs.groups()) == ["a", "c", "d", "e"]


@pytest.mark.parametrize("refusal", [refuse(403, "AccessDeniedException"), cut], ids=["refused", "away"])
async def test_split_batch_returns_what_was_sent_when_its_second_call_fails(
    faulty_sqs: FaultySqs, refusal: Fault
) -> None:
    """An error of the whole batch would hide that the first four are on the queue."""
    messages = [OutgoingMessage(b"x" * 260_000, group, f"d{n}") for n, group in enumerate("abcde")]
    faulty_sqs.proxy.plan("SendMessageBatch", pass_on, refusal, refusal, refusal)
    *first, last = await faulty_sqs.queue.send(messages)
    assert all(isinstance(each, Sent) for each in first)
    assert isinstance(last, Failed)
    assert last.sender_fault == (refusal is not cut)


async def test_connections_are_kept(faulty_sqs: FaultySqs) -> None:
    """A hundred sequential calls use one connection."""
    for _ in range(100):
        await faulty_sqs.queue.counts()
    assert faulty_sqs.proxy.connections == 1


@pytest.mark.promise(10)
async def test_budget_ends_the_retries_of_a_long_outage(faulty_sqs: FaultySqs) -> None:
    """Each call makes three requests at first; once the budget is spent, one."""
    faulty_sqs.proxy.set_lasting(cut)
    tries = []
    for _ in range(60):
        before = len(faulty_sqs.proxy.seen)
        with pytest.raises(BackendUnavailableError):
            await faulty_sqs.queue.counts()
        tries.append(len(faulty_sqs.proxy.seen) - before)
    assert (tries[0], tries[-1], sum(tries)) == (3, 1, 60 + 100)
    faulty_sqs.proxy.heal()
    assert (await faulty_sqs.queue.counts()).total == 0


async def test_delays_between_tries_are_random(faulty_sqs: FaultySqs) -> None:
    """Two delays, of up to 0.1 and 0.2 s, here at three quarters."""
    drawn = []

    def chance() -> float:
        drawn.append(0.75)
        return 0.75

    transport = transport_to(faulty_sqs, chance=chance)
    faulty_sqs.proxy.plan("GetQueueUrl", refuse(500), refuse(500))
    begun = time.monotonic()
    await transport.call("GetQueueUrl", FIELDS)
    assert 0.225 <= time.monotonic() - begun < 2
    assert len(drawn) == 2
    await transport.close()


async def test_cancelled_call_is_counted(faulty_sqs: FaultySqs) -> None:
    """Every HTTP request is counted, whatever its result."""
    results: list[tuple[str, str]] = []
    transport = transport_to(faulty_sqs, on_request=lambda action, result: results.append((action, result)))
    faulty_sqs.proxy.set_lasting(swallow)
    call = asyncio.create_task(transport.call("GetQueueUrl", FIELDS))
    async with asyncio.timeout(5):
        while not faulty_sqs.proxy.seen:
            await asyncio.sleep(0.005)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert results == [("GetQueueUrl", "cancelled")]
    await transport.close()


@pytest.mark.promise(10)
async def test_refused_connection_is_an_outage(faulty_sqs: FaultySqs) -> None:
    """Like any other fault of the connection."""
    await faulty_sqs.proxy.close()
    with pytest.raises(BackendUnavailableError):
        await faulty_sqs.queue.counts()
    assert faulty_sqs.requests == [("GetQueueAttributes", "connection")] * 3


async def test_closed_transport_is_an_outage(faulty_sqs: FaultySqs) -> None:
    """Calls during shutdown fail at once with the usual error."""
    transport = transport_to(faulty_sqs)
    faulty_sqs.proxy.set_lasting(swallow)
    call = asyncio.create_task(transport.call("GetQueueUrl", FIELDS))
    async with asyncio.timeout(5):
        while not faulty_sqs.proxy.seen:
            await asyncio.sleep(0.005)
    await transport.close()
    for late in (call, transport.call("GetQueueUrl", FIELDS)):
        with pytest.raises(BackendUnavailableError):
            await asyncio.wait_for(late, 5)


async def test_requests_have_only_the_necessary_headers(faulty_sqs: FaultySqs) -> None:
    """No cookie, no compression that could exceed the limit, and a User-Agent for the service's log."""
    seen: list[Mapping[str, str]] = []

    async def noted(exchange: Exchange) -> None:
        seen.append(exchange.headers)
        await exchange.answer(200, {"Set-Cookie": "a=b"}, b"{}")

    transport = transport_to(faulty_sqs)
    faulty_sqs.proxy.set_lasting(noted)
    for _ in range(2):
        await transport.call("GetQueueUrl", FIELDS)
    assert "cookie" not in seen[1]
    assert seen[1]["accept-encoding"] == "identity"
    assert seen[1]["user-agent"].startswith("chaski/")
    await transport.close()


async def test_a_request_has_each_header_once() -> None:
    """Servers refuse a second Host, and proxies disagree about it."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint(SQS, f"http://127.0.0.1:{port}", "us-east-1")
        transport = AwsTransport(endpoint, credentials=FixedCredentials())
        assert await transport.call("GetQueueUrl", FIELDS) == {}
        await transport.close()
    names = [line.partition(b":")[0].lower() for line in heads[0].split(b"\r\n")[1:-2]]
    assert len(names) == len(set(names))
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in heads[0]
