"""A route of a cluster as the commands for dead letters, subjects and traces use it."""

import asyncio
from pathlib import Path

from chaski_cli.cluster.access import ClusterOptions, get_route, with_api
from chaski_core.route.resolved import ResolvedRoute
from chaski_replay.backends import BackendLocation, ClusterRoute
from chaski_runtime.kube.client import KubeApi, Object
from chaski_runtime.kube.route_cache import Unserved, read_route
from chaski_runtime.process.command_error import CommandError


def cluster_location(options: ClusterOptions, name: str) -> BackendLocation:
    """Queues and table of a ChaskiRoute, by its `status.resolved`: needs no right but to read the route.

    Args:
        options: which cluster.
        name: NAMESPACE/NAME, or NAME.

    Raises:
        CommandError: the route does not exist, or has no queues yet.
    """

    async def read(api: KubeApi) -> Object:
        return await get_route(api, options, name)

    document = asyncio.run(with_api(options, read))
    resolved = resolved_of(document)
    return BackendLocation(Path(), cluster=ClusterRoute(resolved, (resolved.route.key, *options.flags)))


def resolved_of(document: Object) -> ResolvedRoute:
    """The route with its queues and its table, as the operator reports them.

    Raises:
        CommandError: it is not served, or has no table yet.
    """
    key = "{namespace}/{name}".format_map(document["metadata"])
    found = read_route(document)
    reason = found.detail if isinstance(found, Unserved) else "its table does not exist yet"
    if isinstance(found, Unserved) or found.dead_letter_table is None:
        raise CommandError(f"{key}: {reason}", next_step=f"see its conditions: kubectl chaski status {key}")
    return found
