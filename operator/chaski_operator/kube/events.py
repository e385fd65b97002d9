"""Kubernetes events on routes. Conditions persist; events expire after an hour."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.manifests.names import MANAGER
from chaski_runtime.kube.client import KubeApi, KubeApiError, object_path

_log = logging.getLogger(__name__)
_MAX_CHARACTERS = 1_000  # the API server accepts 1,024

NORMAL, WARNING = "Normal", "Warning"


@dataclass(frozen=True, slots=True)
class Event:
    """One Kubernetes event."""

    type: str  # Normal | Warning
    reason: str  # CamelCase, for programs; docs/operator.md lists them
    message: str


async def post_events(
    api: KubeApi, metadata: Mapping[str, Any], events: Iterable[Event], *, now: str, identity: str
) -> None:
    """Posts events on a route. An event that the API server refuses is lost; it is not retried.

    Args:
        api: the API server.
        metadata: the route's.
        events: in order.
        now: RFC 3339.
        identity: of the process.
    """
    namespace, name = metadata["namespace"], metadata["name"]
    for event in events:
        body = {
            "metadata": {"generateName": f"{name}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": GROUP_VERSION,
                "kind": KIND,
                "namespace": namespace,
                "name": name,
                "uid": metadata["uid"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": " ".join(event.message.split())[:_MAX_CHARACTERS],
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
            _log.info("could not post an event on %s/%s: %s", namespace, name, error)
