"""What a worker's deliverer is made of: the route, and the Secrets that it names."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from chaski_core.errors import InvalidInputError
from chaski_core.route.model import AllowRule
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.process.clock import SystemClock
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.delivery.signing import SigningDeliverer
from support.worker.harness import make_route


def test_a_route_that_signs_gets_a_deliverer_that_signs(tmp_path: Path) -> None:
    """Where the process has a folder of Secrets; another route's requests stay as they are."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "current").write_bytes(base64.b64encode(b"k" * 32))
    outside = DelivererDependencies(SystemClock(), secrets=tmp_path)
    signing = replace(make_route(), signing_secret="keys")
    assert isinstance(make_deliverer(signing, Metrics(), outside), SigningDeliverer)
    assert isinstance(make_deliverer(make_route(), Metrics(), outside), HttpDeliverer)
    assert isinstance(make_deliverer(signing, Metrics(), DelivererDependencies(SystemClock())), HttpDeliverer)


def test_a_signing_secret_that_can_not_be_used_is_named_with_its_field(tmp_path: Path) -> None:
    """Before anything is delivered: it is the whole route's."""
    route = replace(make_route(), signing_secret="keys")
    with pytest.raises(InvalidInputError) as raised:
        make_deliverer(route, Metrics(), DelivererDependencies(SystemClock(), secrets=tmp_path))
    assert [fault.field for fault in raised.value.faults] == ["spec.signing.secretName"]


@pytest.mark.promise(9)
def test_a_client_certificate_that_can_not_be_used_stops_no_other_rule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts, and names the field."""
    rules = (AllowRule("a", "https://a.example/"), AllowRule("b", "https://b.example/", client_cert_secret_name="cert"))
    make_deliverer(
        replace(make_route(), allow=rules), Metrics(), DelivererDependencies(SystemClock(), secrets=tmp_path)
    )
    (record,) = caplog.records
    assert record.getMessage().startswith("spec.targets.allow[1].clientCertSecretName: ")
    assert "there is no tls.crt" in record.getMessage()
