"""The end of a route: what is deleted with it, and how it is let go."""

import logging
from collections.abc import Mapping
from typing import Any

from chaski_core.errors import InvalidRouteError
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.validation.crd import GROUP_VERSION, KIND, known_part
from chaski_operator.kube.apply import owner_of
from chaski_operator.kube.cache import OwnedObjects
from chaski_operator.manifests.manifests import DEPLOYMENT
from chaski_operator.manifests.names import FINALIZER
from chaski_operator.route.aws_resources import AwsResources
from chaski_operator.route.policy import has_finalizer, wants_finalizer
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path

_log = logging.getLogger(__name__)


async def delete_route(api: KubeApi, cloud: AwsResources, owned: OwnedObjects, document: Mapping[str, Any]) -> None:
    """Does what the route's deletionPolicy says, and takes the finalizer away. May be repeated.

    What the route owns in the cluster is left to the garbage collector; its Deployments go first where queues go, so that
    no worker misses its queue.

    Raises:
        ProvisionError: something is left on AWS.
        KubeApiError: the API server did not take something.
    """
    if not has_finalizer(document):
        return
    metadata = document["metadata"]
    if wants_finalizer(document):
        for each in list(owned.of_route(metadata["namespace"], metadata["name"])):
            if each["kind"] == DEPLOYMENT.kind and owner_of(each) == metadata["uid"]:
                path = object_path(
                    DEPLOYMENT.api_version, DEPLOYMENT.plural, metadata["namespace"], each["metadata"]["name"]
                )
                await api.delete(path, uid=each["metadata"]["uid"])
        done = await cloud.drop(route_to_delete(document))
        _log.info("%s/%s is deleted: %d calls on AWS", metadata["namespace"], metadata["name"], len(done))
    left = [each for each in metadata["finalizers"] if each != FINALIZER]
    path = object_path(GROUP_VERSION, "chaskiroutes", metadata["namespace"], metadata["name"])
    try:
        await api.json_patch(path, finalizer_patch(document, left))
    except KubeRefusedError as error:
        if error.status != 404:
            raise


def finalizer_patch(document: Mapping[str, Any], wanted: list[str]) -> list[dict[str, Any]]:
    """Sets the finalizers, unless somebody else changed the route meanwhile."""
    metadata = document["metadata"]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/metadata/finalizers", "value": wanted},
    ]


def route_to_delete(document: Mapping[str, Any]) -> Route:
    """The route, or, where its spec can't be read any more, one of the same name: that is all that deletion needs."""
    try:
        return load_route(known_part(document))
    except InvalidRouteError:
        metadata = {name: document["metadata"][name] for name in ("namespace", "name")}
        spec = {"queues": [{"name": "any"}], "targets": {"allow": [{"name": "any", "url": "https://any.invalid/"}]}}
        return load_route({"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
