"""Puts together what delivers a route."""

from collections.abc import Callable
from functools import partial

from chaski_core import __version__
from chaski_core.route.model import Route
from chaski_runtime.metrics import Metrics
from chaski_worker.addresses import LoopbackPolicy
from chaski_worker.delivery import Deliverer
from chaski_worker.guard import Guard
from chaski_worker.refusal import RefusalReason


def make_deliverer(route: Route, metrics: Metrics, *, permit_loopback: bool) -> Deliverer:
    """What calls the route's targets, and counts what it refuses to call.

    Args:
        route: whose allow rules and timeout hold.
        metrics: told of refusals.
        permit_loopback: whether hosts that a rule allows may be addresses of this machine.
    """
    return Deliverer(
        Guard(route.allow),
        LoopbackPolicy(permit_loopback=permit_loopback),
        timeout_seconds=route.delivery.timeout_seconds,
        user_agent=f"chaski/{__version__}",
        on_refusal=_counted(metrics, route),
    )


def _counted(metrics: Metrics, route: Route) -> Callable[[RefusalReason], None]:
    count = partial(metrics.guard_refusal, namespace=route.namespace, route=route.name)
    return lambda reason: count(reason=reason.value)
