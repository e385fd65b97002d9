"""Which routes `chaski console` shows: those of files, or those of a cluster, followed by a watch."""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from chaski_aws.backend import AwsClients, RouteTable
from chaski_console.data.route_status import RouteSnapshot
from chaski_core import __version__
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_replay.backends import OpenBackend, read_resolved_file
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError, kube_access
from chaski_runtime.kube.route_cache import KubeRoutes
from chaski_runtime.process.command_error import wrong_input


class RouteSource(Protocol):
    """Provides the routes."""

    def served(self) -> Mapping[str, ResolvedRoute]:
        """Routes whose queues are known, by namespace/name."""
        ...

    def snapshot(self) -> RouteSnapshot:
        """All routes, as the console shows them."""
        ...

    def unready_reason(self) -> str | None:
        """Why the process is not ready; None if it is."""
        ...

    def unreachable_seconds(self) -> float | None:
        """How long the API server has been unreachable; None where none is used."""
        ...

    async def follow(self) -> None:
        """Keeps the routes up to date until cancelled."""
        ...


class FileRoutes:
    """Implements `RouteSource` over files with resolved routes; read once."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads files, and all `*.yaml` files of folders.

        Raises:
            CommandError: a file is invalid, or there is none.
        """
        files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
        self._routes = {resolved.route.key: resolved for file in files for resolved in read_resolved_file(file)}
        if not self._routes:
            raise wrong_input("no resolved route was found", "give the file or folder that `chaski provision` wrote")

    def served(self) -> Mapping[str, ResolvedRoute]:
        return self._routes

    def snapshot(self) -> RouteSnapshot:
        return RouteSnapshot(self._routes.values())

    def unready_reason(self) -> str | None:
        return None

    def unreachable_seconds(self) -> float | None:
        return None

    async def follow(self) -> None:
        await asyncio.Event().wait()


class ClusterRoutes:
    """Implements `RouteSource` over the ChaskiRoutes of a cluster."""

    def __init__(self, access: KubeAccess, namespaces: Sequence[str], clock: Clock) -> None:
        """`namespaces`: whose routes are shown; empty means all. Must be constructed inside a running loop."""
        # Here, because the official client takes 20 MiB and 0.2 s, which no other command of the CLI needs.
        from chaski_runtime.kube.official import OfficialTransport  # noqa: PLC0415

        api = KubeApi(access, user_agent=f"chaski-console/{__version__}", transport=OfficialTransport)
        self._routes = KubeRoutes(api, namespaces, clock, random.random)

    def served(self) -> Mapping[str, ResolvedRoute]:
        """Routes whose queues the operator has created."""
        return {resolved.route.key: resolved for resolved in self._routes.served.values()}

    def snapshot(self) -> RouteSnapshot:
        """Includes routes that are not served, with the reason."""
        unserved = {f"{namespace}/{name}": each.detail for (namespace, name), each in self._routes.unserved.items()}
        return RouteSnapshot(self._routes.served.values(), unserved, self._stale_reason())

    def unready_reason(self) -> str | None:
        """Until the routes were listed for the first time."""
        return self._routes.unready_reason()

    def unreachable_seconds(self) -> float | None:
        """0 while it answers."""
        return self._routes.unreachable_seconds()

    async def follow(self) -> None:
        await self._routes.follow()

    def _stale_reason(self) -> str | None:
        watch_error = self._routes.stale_reason()
        if watch_error is None:
            return self._routes.unready_reason()
        effect = "No routes are known yet" if self._routes.unready_reason() else "The last known routes are shown"
        return f"The Kubernetes API server can't be read. {effect}. Reason: {watch_error}"


def cluster_access() -> KubeAccess:
    """Address and credentials of the API server. CommandError: there are none."""
    try:
        return kube_access()
    except NoKubeAccessError as error:
        raise wrong_input(f"--kubernetes: {error}") from error


class RouteBackends(Mapping[str, OpenBackend]):
    """Dead letters and queues of the current routes that have a table, by namespace/name; opened on first use."""

    def __init__(self, source: RouteSource, account: AwsClients) -> None:
        self._source = source
        self._account = account
        self._opened: dict[str, OpenBackend] = {}

    def __getitem__(self, key: str) -> OpenBackend:
        resolved = self._source.served()[key]
        backend = self._opened.get(key)
        if backend is None or backend.routes[key] is not resolved:
            table = RouteTable(_table(resolved), resolved.route.retention_days)
            backend = OpenBackend(self._account.dead_letters(table), self._account.queue, {key: resolved})
            current = self._source.served()
            self._opened = {each: opened for each, opened in self._opened.items() if each in current} | {key: backend}
        return backend

    def __iter__(self) -> Iterator[str]:
        return iter([key for key, each in self._source.served().items() if each.dead_letter_table is not None])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _table(resolved: ResolvedRoute) -> str:
    if resolved.dead_letter_table is None:
        raise KeyError(resolved.route.key)
    return resolved.dead_letter_table
