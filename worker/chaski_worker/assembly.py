"""Puts together what delivers a route."""

import os
from collections.abc import Callable
from functools import partial

from chaski_core import __version__
from chaski_core.route.model import Route
from chaski_runtime.metrics import Metrics
from chaski_worker.addresses import AddressTables, own_addresses
from chaski_worker.delivery import Deliverer
from chaski_worker.guard import Guard, api_server_hosts
from chaski_worker.refusal import RefusalReason
from chaski_worker.session import Sessions


def make_deliverer(route: Route, metrics: Metrics, *, permit_loopback: bool) -> Deliverer:
    """What calls the route's targets, and counts what it refuses to call.

    Args:
        route: whose allow rules and timeout hold.
        metrics: told of refusals.
        permit_loopback: whether hosts that a rule allows may be addresses of this machine.
    """
    policy = AddressTables(permit_loopback=permit_loopback, own=own_addresses(os.environ))
    return Deliverer(
        Guard(route.allow, api_server_hosts(os.environ)),
        Sessions(policy, user_agent=f"chaski/{__version__}"),
        timeout_seconds=route.delivery.timeout_seconds,
        on_refusal=_counted(metrics, route),
    )


def _counted(metrics: Metrics, route: Route) -> Callable[[RefusalReason], None]:
    count = partial(metrics.guard_refusal, namespace=route.namespace, route=route.name)
    return lambda reason: count(reason=reason.value)
