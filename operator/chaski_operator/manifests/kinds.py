"""Kinds of Kubernetes objects that the operator follows or creates, and the frame that all of a route's objects share."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_core.route.model import Route
from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.manifests.names import (
    MANAGED_BY_LABEL,
    MANAGER,
    MANIFEST_HASH,
    OWNED_SELECTOR,
    WORKERS_SELECTOR,
    worker_labels,
)

Object = dict[str, Any]  # a Kubernetes object as JSON
Document = Mapping[str, Any]  # the same, read-only


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    api_version: str
    kind: str
    plural: str
    selector: str = ""  # labels of the objects that the operator follows

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version without the group."""
        return self.api_version.rpartition("/")[2]


CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", OWNED_SELECTOR)
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts", OWNED_SELECTOR)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", OWNED_SELECTOR)
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", OWNED_SELECTOR)
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", OWNED_SELECTOR)
# What a route owns, in the order of creation: a Pod needs its ConfigMap and its ServiceAccount.
KINDS = (CONFIG_MAP, SERVICE_ACCOUNT, NETWORK_POLICY, BUDGET, DEPLOYMENT)

ROUTE = Kind(GROUP_VERSION, KIND, "chaskiroutes")
REPLAY = Kind(GROUP_VERSION, "ChaskiReplay", "chaskireplays")
POD = Kind("v1", "Pod", "pods", WORKERS_SELECTOR)


def kind_of(document: Document) -> Kind:
    """The kind of one of the operator's objects."""
    return next(kind for kind in KINDS if kind.kind == document["kind"])


def new_object(kind: Kind, name: str, route: Route, content: Mapping[str, Any]) -> Object:
    """An object in the route's namespace with the labels that all of the route's objects carry."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": route.namespace,
            "labels": {**worker_labels(route.name), MANAGED_BY_LABEL: MANAGER},
        },
        **content,
    }


def with_owner(document: Object, route: Route, uid: str) -> Object:
    """The object with its ChaskiRoute as controller, so that the garbage collector deletes it after the route."""
    document["metadata"]["ownerReferences"] = [
        {
            "apiVersion": GROUP_VERSION,
            "kind": KIND,
            "name": route.name,
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    return document


def with_hash(document: Object) -> Object:
    """The object with a hash of its whole content, so that a field that was removed counts as a difference too."""
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    document["metadata"].setdefault("annotations", {})[MANIFEST_HASH] = digest
    return document
