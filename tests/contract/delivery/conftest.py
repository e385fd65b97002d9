"""Servers, deliverers and certificates for the tests of this folder, each on both event loops."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest
import uvloop
from aiohttp.abc import AbstractResolver

from chaski_core.route.model import AllowRule
from chaski_runtime.http.pool import MAX_AGE_SECONDS
from chaski_runtime.process.clock import SystemClock
from chaski_worker.delivery.attempt import Middleware
from chaski_worker.delivery.clients import ClientCertificate, TargetClients
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.guard.addresses import AddressTables, MakeSocket, plain_socket
from chaski_worker.guard.guard import Guard, RefusalReason, api_server_hosts
from contract.delivery.targets import (
    TIMEOUT_SECONDS,
    Certificates,
    DelivererSetup,
    FakeResolver,
    Handler,
    JudgingDeliverer,
    Target,
)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Workers run on uvloop; the standard loop must not differ."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Target]]]:
    """Starts servers: awaited with a handler, and optionally an address, TLS settings and a port."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()

    async def start(
        handler: Handler, *, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None, port: int = 0
    ) -> Target:
        target = Target(address)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            target.connections += 1
            try:
                await handler(reader, writer, target)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, ssl.SSLError):
                pass  # the client closed the connection, or the test is over
            finally:
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, address, port, ssl=tls)
        servers.append(server)
        target.port = server.sockets[0].getsockname()[1]
        return target

    yield start
    for server in servers:
        server.close()
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def make_setup() -> AsyncIterator[Callable[..., DelivererSetup]]:
    """Makes deliverers: `make_setup(*rules, policy=..., resolver=..., ...)`; a rule is an AllowRule or a URL."""
    made: list[HttpDeliverer] = []

    def make(
        *rules: AllowRule | str,
        policy: AddressTables | None = None,
        resolver: AbstractResolver | None = None,
        timeout: float = TIMEOUT_SECONDS,
        make_socket: MakeSocket = plain_socket,
        certificates: Mapping[AllowRule, ClientCertificate] | None = None,
        ceiling: int | None = None,
        max_age: float = MAX_AGE_SECONDS,
        middlewares: Sequence[Middleware] = (),
    ) -> DelivererSetup:
        named = [rule if isinstance(rule, AllowRule) else AllowRule(f"rule{i}", rule) for i, rule in enumerate(rules)]
        refusals: list[RefusalReason] = []
        clients = TargetClients(
            policy or AddressTables(permit_loopback=True),
            user_agent="chaski/test",
            resolver=resolver or FakeResolver({}),
            make_socket=make_socket,
            certificates=certificates or {},
            ceiling=ceiling,
            max_age_seconds=max_age,
        )
        deliverer = HttpDeliverer(
            clients, timeout_seconds=timeout, clock=SystemClock(), middlewares=middlewares, on_refusal=refusals.append
        )
        made.append(deliverer)
        return DelivererSetup(JudgingDeliverer(Guard(named, api_server_hosts({})), deliverer), refusals)

    yield make
    for deliverer in made:
        await deliverer.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """`right` is for target.test, `wrong` for other.test; `issued` is for target.test too, and issued by `right`."""
    openssl = shutil.which("openssl")
    assert openssl, "the openssl command is needed to make certificates"
    folder = tmp_path_factory.mktemp("certificates")
    for name, host in (("right", "target.test"), ("wrong", "other.test"), ("issued", "target.test")):
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
        command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
        if name == "issued":
            command += ["-CA", str(folder / "right.crt"), "-CAkey", str(folder / "right.key")]
        subprocess.run(command, check=True, capture_output=True)
    return Certificates(folder)
