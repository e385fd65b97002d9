"""Tells of requests that were denied, so that an SRE finds what a producer complains of."""

import logging
from collections import OrderedDict
from collections.abc import Callable

from chaski_ingest.auth.token_review import Denied

_log = logging.getLogger(__name__)
_EVERY_SECONDS = 60.0
_MAX_REMEMBERED = 1_000


class DeniedRequestLog:
    """One line for each route and cause in a minute: a producer that goes on asking fills no disk."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()  # when it may be told again

    def tell(self, route: str, denied: Denied) -> None:
        """A request to a route was denied."""
        key, now = (route, denied.detail), self._monotonic()
        if now < self._told.get(key, now):
            return
        self._told[key] = now + _EVERY_SECONDS
        self._told.move_to_end(key)
        if len(self._told) > _MAX_REMEMBERED:
            self._told.popitem(last=False)
        namespace, _, name = route.partition("/")
        fields = {"event.action": "denied", "event.outcome": "failure", "http.response.status_code": denied.status}
        fields |= {"labels.namespace": namespace, "labels.route": name}
        _log.warning("%s: request denied with %d: %s", route, denied.status, denied.detail, extra={"ecs": fields})
