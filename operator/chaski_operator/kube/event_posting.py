"""Events on routes: what a person should hear of. Conditions last; events vanish after an hour."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.manifests.names import MANAGER
from chaski_runtime.kube.client import KubeApi, KubeApiError, object_path

_log = logging.getLogger(__name__)
_MOST_CHARACTERS = 1_000  # the API server takes 1,024

NORMAL, WARNING = "Normal", "Warning"


@dataclass(frozen=True, slots=True)
class News:
    """One event."""

    type: str  # Normal | Warning
    reason: str  # one word for programs; docs/operator.md lists them
    message: str


async def post(api: KubeApi, metadata: Mapping[str, Any], news: Iterable[News], *, now: str, identity: str) -> None:
    """Posts events on a route. One that can't be posted is lost: nothing waits for it.

    Args:
        api: where to.
        metadata: the route's.
        news: what happened.
        now: RFC 3339.
        identity: of the process.
    """
    namespace, name = metadata["namespace"], metadata["name"]
    for each in news:
        body = {
            "metadata": {"generateName": f"{name}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": GROUP_VERSION,
                "kind": KIND,
                "namespace": namespace,
                "name": name,
                "uid": metadata["uid"],
            },
            "type": each.type,
            "reason": each.reason,
            "message": " ".join(each.message.split())[:_MOST_CHARACTERS],
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": identity[:128],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await api.create(object_path("v1", "events", namespace), body)
        except KubeApiError as error:
            _log.info("an event on %s/%s was not taken: %s", namespace, name, error)
