"""A worker's deliverer, built from the route and the Secrets that it names."""

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import pytest

from chaski_core.errors import InvalidInputError
from chaski_core.message.envelope import HttpRequest
from chaski_core.route.model import AllowRule, Route, Signing, SigningScheme
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process.clock import SystemClock
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer, make_guard
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.metrics import WorkerMetrics
from support.worker.harness import make_route


def worker_metrics() -> WorkerMetrics:
    """Metrics on a registry of their own."""
    return WorkerMetrics(MetricsRegistry())


async def sent_headers(route: Route, dependencies: DelivererDependencies) -> list[str]:
    """The lower-case names of the headers that a target receives from the route's deliverer."""
    heads: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    route = replace(route, allow=(AllowRule("t0", url),))
    deliverer = make_deliverer(route, worker_metrics(), replace(dependencies, permit_loopback=True))
    target = make_guard(route).check(url)
    request = HttpRequest("POST", url, (), None)
    outcome = await deliverer.deliver(AttemptContext("ns/r", "m-1", None, None, 1, None, request, target))
    await deliverer.close()
    server.close()
    assert outcome.delivered
    return [line.partition(":")[0].lower() for line in heads[0].decode().splitlines()]


async def test_requests_of_a_route_with_a_signing_secret_are_signed(tmp_path: Path) -> None:
    """Where the process has a folder of Secrets; another route's requests are not signed."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "current").write_bytes(base64.b64encode(b"k" * 32))
    with_secrets, without = DelivererDependencies(SystemClock(), secrets=tmp_path), DelivererDependencies(SystemClock())
    signing = replace(make_route(), signing=Signing("keys"))
    assert "webhook-signature" in await sent_headers(signing, with_secrets)
    assert "webhook-signature" not in await sent_headers(make_route(), with_secrets)
    assert "webhook-signature" not in await sent_headers(signing, without)


def test_a_signing_secret_that_can_not_be_used_is_named_with_its_field(tmp_path: Path) -> None:
    """Before anything is delivered: the Secret applies to the whole route."""
    route = replace(make_route(), signing=Signing("keys"))
    with pytest.raises(InvalidInputError) as raised:
        make_deliverer(route, worker_metrics(), DelivererDependencies(SystemClock(), secrets=tmp_path))
    assert [fault.field for fault in raised.value.errors] == ["spec.signing.secretName"]


@pytest.mark.promise(9)
def test_a_client_certificate_that_can_not_be_used_stops_no_other_rule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts, and logs the field."""
    rules = (AllowRule("a", "https://a.example/"), AllowRule("b", "https://b.example/", client_cert_secret_name="cert"))
    make_deliverer(
        replace(make_route(), allow=rules), worker_metrics(), DelivererDependencies(SystemClock(), secrets=tmp_path)
    )
    (record,) = caplog.records
    assert record.getMessage().startswith("spec.targets.allow[1].clientCertSecretName: ")
    assert "there is no tls.crt" in record.getMessage()


@pytest.mark.promise(9)
async def test_a_rules_own_signing_replaces_the_routes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And the route's Secret is not needed where every rule has its own; one that is missing affects its rule only."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "current").write_bytes(b"whsk_" + base64.b64encode(b"k" * 32))
    own = AllowRule("own", "http://own.example/", signing=Signing("own", SigningScheme.V1A))
    missing = AllowRule("missing", "http://missing.example/", signing=Signing("missing"))
    route = replace(make_route(), signing=Signing("not-there"), allow=(own, missing))
    dependencies = DelivererDependencies(SystemClock(), secrets=tmp_path)
    await make_deliverer(route, worker_metrics(), dependencies).close()
    (record,) = caplog.records
    assert record.getMessage().startswith("spec.targets.allow[1].signing: ")
    with pytest.raises(InvalidInputError):
        make_deliverer(replace(route, allow=(own, AllowRule("c", "http://c.example/"))), worker_metrics(), dependencies)
