"""The rungs and ladders of a route that declares no `retry`.

They depend on the ordering, so the definition can't have them: a default of a schema is one value.
"""

from collections.abc import Mapping
from typing import Any

from chaski_core.route.model import Ordering

_DELAYS = {"5s": 5, "1m": 60, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400}
_STRICT = ("5s", "1m", "15m", "1h")  # less, since a failing message holds its subject
_UNAVAILABLE = ("5xx", "408, 425, 429", "timeout", "connection", "tls")  # what a target recovers from
_REJECTED = ("1m", "15m")  # other 4xx: a request that the target rejects is seldom accepted later


def default_retry(ordering: Ordering) -> dict[str, Any]:
    """The default of `spec.retry`, with each of its own defaults.

    It has no ladder for 3xx and `refused`, and no retries for 410: such messages become dead letters at once.
    """
    rungs = _STRICT if ordering is Ordering.STRICT else tuple(_DELAYS)
    return {
        "rungs": [{"name": name, "delaySeconds": _DELAYS[name]} for name in rungs],
        "ladders": [
            *(_ladder(error_class, rungs) for error_class in _UNAVAILABLE),
            _ladder("4xx", _REJECTED),
            _ladder("410", ()),
        ],
        "maxRetryAfterSeconds": 3600,
    }


def with_kept_retry(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """A route of a cluster as a release before may have resolved it; None if its spec or its status decides otherwise.

    A route without `retry` follows the defaults of the release that resolved its current spec, which are in
    `status.resolved.retry`, so that an upgrade changes no ladder. A change of the spec ends that.
    """
    resolved = (document.get("status") or {}).get("resolved") or {}
    retry, spec = resolved.get("retry"), document["spec"]
    if "retry" in spec or retry is None or resolved.get("observedGeneration") != document["metadata"].get("generation"):
        return None
    return {**document, "spec": {**spec, "retry": retry}}


def _ladder(error_class: str, rungs: tuple[str, ...]) -> dict[str, Any]:
    return {"class": error_class, "retriesPerRung": 1, "rungs": list(rungs)}
