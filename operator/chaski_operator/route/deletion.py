"""Deletion of a route: its resources, then its finalizer."""

import logging
from collections.abc import Mapping
from typing import Any

from chaski_core.errors import InvalidRouteError
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.validation.crd import GROUP_VERSION, KIND, known_part
from chaski_operator.kube.apply import owner_of
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.manifests.kinds import DEPLOYMENT, ROUTE
from chaski_operator.manifests.names import FINALIZER
from chaski_operator.route.aws_resources import AwsResources
from chaski_operator.route.policy import has_finalizer, wants_finalizer
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path

_log = logging.getLogger(__name__)


async def delete_route(api: KubeApi, aws: AwsResources, objects: ObjectCache, document: Mapping[str, Any]) -> None:
    """Follows the route's deletionPolicy, then removes the finalizer. Idempotent.

    The garbage collector deletes what the route owns in the cluster. Where queues are deleted, the operator deletes the
    Deployments first, so that no worker runs without its queue.

    The route is read again before anything is deleted, since a person may have removed the finalizer, and before the
    finalizer is removed, since its version may have changed. In a namespace that is being deleted, the operator may be
    left with no more than the right to read and patch routes.

    Raises:
        ProvisionError: something is left on AWS.
        KubeApiError: the API server refused a request.
    """
    if not has_finalizer(document):
        return
    metadata = document["metadata"]
    live = await _read_again(api, objects, document)
    if live is None:
        return
    if wants_finalizer(live):
        await _delete_workers(api, objects, metadata)
        done = await aws.drop(route_to_delete(live))
        _log.info("%s/%s: AWS resources deleted by %d calls", metadata["namespace"], metadata["name"], len(done))
        live = await _read_again(api, objects, document)
    if live is None:
        return
    left = [each for each in live["metadata"]["finalizers"] if each != FINALIZER]
    try:
        patched = await api.json_patch(_path(metadata), finalizer_patch(live, left))
    except KubeRefusedError as error:
        if error.status != 404:
            raise
        objects.remove(ROUTE, live)
    else:
        if left:
            objects.put(ROUTE, patched)
        else:
            objects.remove(ROUTE, patched)


async def _read_again(api: KubeApi, objects: ObjectCache, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The route as it is now; None if it is gone, or no longer waits for the operator."""
    live = await api.find(_path(document["metadata"]))
    if live is None or live["metadata"]["uid"] != document["metadata"]["uid"]:
        objects.remove(ROUTE, dict(document))
    if live is None:
        return None
    objects.put(ROUTE, live)
    is_same = live["metadata"]["uid"] == document["metadata"]["uid"]
    return live if is_same and has_finalizer(live) else None


async def _delete_workers(api: KubeApi, objects: ObjectCache, metadata: Mapping[str, Any]) -> None:
    for each in objects.of_route(DEPLOYMENT, metadata["namespace"], metadata["name"]):
        if owner_of(each) != metadata["uid"]:
            continue
        name = each["metadata"]["name"]
        path = object_path(DEPLOYMENT.api_version, DEPLOYMENT.plural, metadata["namespace"], name)
        try:
            await api.delete(path, uid=each["metadata"]["uid"])
        except KubeRefusedError as error:
            if error.status != 403:
                raise
            _log.warning("%s; leaving the Deployment to the garbage collector", error)


def _path(metadata: Mapping[str, Any]) -> str:
    return object_path(ROUTE.api_version, ROUTE.plural, metadata["namespace"], metadata["name"])


def finalizer_patch(document: Mapping[str, Any], wanted: list[str]) -> list[dict[str, Any]]:
    """A JSON patch that sets the finalizers; it fails if the route has changed since it was read."""
    metadata = document["metadata"]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/metadata/finalizers", "value": wanted},
    ]


def route_to_delete(document: Mapping[str, Any]) -> Route:
    """The route, or a placeholder of the same name if its spec is invalid: deletion needs only the name."""
    try:
        return load_route(known_part(document))
    except InvalidRouteError:
        metadata = {name: document["metadata"][name] for name in ("namespace", "name")}
        spec = {"queues": [{"name": "any"}], "targets": {"allow": [{"name": "any", "url": "https://any.invalid/"}]}}
        return load_route({"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
