"""Makes the queues of a route in a data folder, and follows its changes."""

from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute

from chaski_embedded.broker import EmbeddedBroker


async def resolve(broker: EmbeddedBroker, route: Route) -> ResolvedRoute:
    """Makes what the route needs and is not there yet; one transaction, and the same again when repeated.

    Raises:
        RouteConflictError: the folder holds this route under another `ordering`.
    """
    raise NotImplementedError


async def drop_drained(broker: EmbeddedBroker, resolved: ResolvedRoute) -> ResolvedRoute:
    """Deletes the queues of older generations and retired rungs that are empty; what is left of the resolved route."""
    raise NotImplementedError
