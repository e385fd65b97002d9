"""The Deployment that a Pod belongs to, by owner references: labels can be set by all users who may create Pods.

Owner references can be set too, but the ReplicaSet controller deletes surplus Pods of its ReplicaSet, and releases those
that its selector does not match.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_runtime.kube.client import KubeApi, KubeApiError, object_path

_log = logging.getLogger(__name__)
_APPS = "apps/v1"
_MAX_REMEMBERED = 10_000  # ReplicaSets, and made-up ones
_MAX_LOOKUPS = 16  # at once


@dataclass(frozen=True, slots=True)
class OwnPods:
    """Pods of a Deployment."""

    pods: Sequence[Mapping[str, Any]]
    unknown: int = 0  # Pods whose owner could not be read


class PodOwners:
    """Distinguishes the Pods of a Deployment from others with the same labels. An owner never changes, so it is read once."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._deployments: OrderedDict[str, str] = OrderedDict()  # UID by the ReplicaSet's UID; "" for another owner

    async def of(self, deployment: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> OwnPods:
        """Those of the Pods that belong to the Deployment."""
        metadata = deployment["metadata"]
        own, unknown, lookups = [], 0, 0
        for pod in pods:
            replica_set = _controller(pod, "ReplicaSet")
            if replica_set is None or not str(replica_set["name"]).startswith(f"{metadata['name']}-"):
                continue
            uid = self._deployments.get(replica_set["uid"])
            if uid is None and lookups < _MAX_LOOKUPS:
                lookups += 1
                uid = await self._look_up(metadata["namespace"], replica_set)
            if uid is None:
                unknown += 1
                lookups = _MAX_LOOKUPS  # the API server is unavailable, or denies it
            elif uid == metadata["uid"]:
                own.append(pod)
        return OwnPods(own, unknown)

    async def _look_up(self, namespace: str, replica_set: Mapping[str, Any]) -> str | None:
        """The UID of a ReplicaSet's Deployment, "" if it has none; None if it could not be read."""
        try:
            found = await self._api.find(object_path(_APPS, "replicasets", namespace, replica_set["name"]))
        except KubeApiError as error:
            _log.warning("can't read the ReplicaSet %s/%s of a Pod: %s", namespace, replica_set["name"], error)
            return None
        owner = None
        if found is not None and found["metadata"]["uid"] == replica_set["uid"]:
            owner = _controller(found, "Deployment")
        uid = "" if owner is None else str(owner["uid"])
        self._deployments[replica_set["uid"]] = uid
        if len(self._deployments) > _MAX_REMEMBERED:
            self._deployments.popitem(last=False)
        return uid


def _controller(document: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The owner reference to the object's controller, if it is of this kind."""
    owners = document["metadata"].get("ownerReferences") or ()
    wanted = (_APPS, kind, True)
    return next((each for each in owners if (each["apiVersion"], each["kind"], each.get("controller")) == wanted), None)
