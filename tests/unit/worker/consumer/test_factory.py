"""A worker's deliverer, built from the route and the Secrets that it names."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from chaski_core.errors import InvalidInputError
from chaski_core.route.model import AllowRule
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process.clock import SystemClock
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.delivery.signing import SigningDeliverer
from chaski_worker.metrics import WorkerMetrics
from support.worker.harness import make_route


def worker_metrics() -> WorkerMetrics:
    """Metrics on a registry of their own."""
    return WorkerMetrics(MetricsRegistry())


def test_a_route_with_a_signing_secret_gets_a_signing_deliverer(tmp_path: Path) -> None:
    """Where the process has a folder of Secrets; another route's requests are not signed."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "current").write_bytes(base64.b64encode(b"k" * 32))
    outside = DelivererDependencies(SystemClock(), secrets=tmp_path)
    signing = replace(make_route(), signing_secret="keys")
    assert isinstance(make_deliverer(signing, worker_metrics(), outside), SigningDeliverer)
    assert isinstance(make_deliverer(make_route(), worker_metrics(), outside), HttpDeliverer)
    assert isinstance(make_deliverer(signing, worker_metrics(), DelivererDependencies(SystemClock())), HttpDeliverer)


def test_a_signing_secret_that_can_not_be_used_is_named_with_its_field(tmp_path: Path) -> None:
    """Before anything is delivered: the Secret applies to the whole route."""
    route = replace(make_route(), signing_secret="keys")
    with pytest.raises(InvalidInputError) as raised:
        make_deliverer(route, worker_metrics(), DelivererDependencies(SystemClock(), secrets=tmp_path))
    assert [fault.field for fault in raised.value.faults] == ["spec.signing.secretName"]


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
