"""How long a process has not reached the API server."""

import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)
_LOGGED_AFTER_SECONDS = 10.0  # a single failed request is not an outage


class Reachability:
    """Since when no request has succeeded, by the results of all requests of one client.

    A response counts as success unless its status is 401 or at least 500: then the credentials, or the API server, do not
    work. Threads may read it.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds."""
        self._monotonic = monotonic
        self._failing_since: float | None = None
        self._logged = False

    def unreachable_seconds(self) -> float:
        """Seconds since the first failure after the last success; 0 while requests succeed."""
        since = self._failing_since
        return 0.0 if since is None else self._monotonic() - since

    def succeeded(self) -> None:
        """Notes a response, or an event of a watch."""
        if self._logged:
            _log.info("the Kubernetes API server is reached again, after %.0f s", self.unreachable_seconds())
        self._failing_since, self._logged = None, False

    def failed(self, error: Exception) -> None:
        """Notes a request without a response, or with one that counts as failure."""
        if self._failing_since is None:
            self._failing_since = self._monotonic()
        elif not self._logged and self.unreachable_seconds() >= _LOGGED_AFTER_SECONDS:
            self._logged = True
            _log.warning(
                "the Kubernetes API server was not reached for %.0f s: %s; check the network, the API server's certificate and"
                " this process's credentials",
                self.unreachable_seconds(),
                error,
            )
