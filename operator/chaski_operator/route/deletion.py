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
from chaski_operator.manifests.kinds import DEPLOYMENT
from chaski_operator.manifests.names import FINALIZER
from chaski_operator.route.aws_resources import AwsResources
from chaski_operator.route.policy import has_finalizer, wants_finalizer
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path

_log = logging.getLogger(__name__)


async def delete_route(api: KubeApi, aws: AwsResources, objects: ObjectCache, document: Mapping[str, Any]) -> None:
    """Follows the route's deletionPolicy, then removes the finalizer. Idempotent.

    The garbage collector deletes what the route owns in the cluster. Where queues are deleted, the operator deletes the
    Deployments first, so that no worker runs without its queue.

    Raises:
        ProvisionError: something is left on AWS.
        KubeApiError: the API server refused a request.
    """
    if not has_finalizer(document):
        return
    metadata = document["metadata"]
    if wants_finalizer(document):
        for each in objects.of_route(DEPLOYMENT, metadata["namespace"], metadata["name"]):
            if owner_of(each) == metadata["uid"]:
                path = object_path(
                    DEPLOYMENT.api_version, DEPLOYMENT.plural, metadata["namespace"], each["metadata"]["name"]
                )
                await api.delete(path, uid=each["metadata"]["uid"])
        done = await aws.drop(route_to_delete(document))
        _log.info("%s/%s: AWS resources deleted by %d calls", metadata["namespace"], metadata["name"], len(done))
    left = [each for each in metadata["finalizers"] if each != FINALIZER]
    path = object_path(GROUP_VERSION, "chaskiroutes", metadata["namespace"], metadata["name"])
    try:
        await api.json_patch(path, finalizer_patch(document, left))
    except KubeRefusedError as error:
        if error.status != 404:
            raise


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
