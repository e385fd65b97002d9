"""Puts together what delivers a route."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaski_core import __version__
from chaski_core.errors import FieldError, InvalidInputError
from chaski_core.ports import Clock
from chaski_core.route.model import AllowRule, Route
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.process import descriptors
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.delivery.signing import SigningDeliverer, watch_keys
from chaski_worker.delivery.tls import ClientCertificate
from chaski_worker.guard.addresses import AddressTables, own_addresses
from chaski_worker.guard.guard import Guard, api_server_hosts
from chaski_worker.guard.refusal import RefusalReason

_log = logging.getLogger(__name__)
_UNUSABLE = {"ecs": {"event.action": "certificate-unusable"}}


@dataclass(frozen=True, slots=True)
class DelivererDependencies:
    """What a deliverer gets from its process, and not from the route."""

    clock: Clock
    permit_loopback: bool = False  # hosts that a rule allows may be addresses of this machine
    secrets: Path | None = None  # folder with one folder for each Secret; None: what needs one goes without


def make_deliverer(route: Route, metrics: Metrics, outside: DelivererDependencies) -> HttpDeliverer | SigningDeliverer:
    """What calls the route's targets, and counts what it refuses to call.

    Raises:
        InvalidInputError: the Secret that the route signs with can't be used.
    """
    policy = AddressTables(permit_loopback=outside.permit_loopback, own=own_addresses(os.environ))
    certificates = _certificates(route, outside)
    deliverer = HttpDeliverer(
        Guard(route.allow, api_server_hosts(os.environ)),
        TargetClients(
            policy,
            user_agent=f"chaski/{__version__}",
            certificates=certificates,
            ceiling=descriptors.ceiling(descriptors.limit()),
        ),
        timeout_seconds=route.delivery.timeout_seconds,
        on_refusal=_counted(metrics, route),
    )
    if route.signing_secret is None or outside.secrets is None:
        return deliverer
    with _named("spec.signing.secretName", outside.secrets / route.signing_secret) as folder:
        keys = watch_keys(folder, outside.clock.monotonic)
    return SigningDeliverer(deliverer, keys, outside.clock.now_ms)


def _certificates(route: Route, outside: DelivererDependencies) -> dict[AllowRule, ClientCertificate]:
    found: dict[AllowRule, ClientCertificate] = {}
    for number, rule in enumerate(route.allow):
        if rule.client_cert_secret_name is not None and outside.secrets is not None:
            folder = outside.secrets / rule.client_cert_secret_name
            found[rule] = ClientCertificate(rule, folder, outside.clock.monotonic)
            try:
                found[rule].context()
            except (OSError, ValueError) as error:  # of this rule only: the others go on
                _log.error(
                    "spec.targets.allow[%d].clientCertSecretName: %s can't be used: %s; the rule's messages wait until it can",
                    number,
                    folder,
                    error,
                    extra=_UNUSABLE,
                )
    return found


@contextmanager
def _named(field: str, folder: Path) -> Iterator[Path]:
    try:
        yield folder
    except (OSError, ValueError) as error:
        raise InvalidInputError([FieldError(field, f"{folder} can't be used: {error}")]) from error


def _counted(metrics: Metrics, route: Route) -> Callable[[RefusalReason], None]:
    count = partial(metrics.guard_refusal, namespace=route.namespace, route=route.name)
    return lambda reason: count(reason=reason.value)
