"""Which routes `chaski console` shows: those of files, or those of a cluster as they come and go."""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from chaski_aws.account import AwsAccount
from chaski_aws.backend import RouteTable
from chaski_cli.backends import OpenBackend, read_resolved_file
from chaski_cli.errors import wrong_input
from chaski_console.data.route_status import RouteSnapshot
from chaski_core import __version__
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError, kube_access
from chaski_runtime.kube.route_cache import KubeRoutes


class RouteSource(Protocol):
    """Where the routes come from."""

    def served(self) -> Mapping[str, ResolvedRoute]:
        """Those whose queues are known, by namespace/name."""
        ...

    def known(self) -> RouteSnapshot:
        """All of them, as the console shows them."""
        ...

    def unready(self) -> str | None:
        """Why nobody should be sent here yet."""
        ...

    async def follow(self) -> None:
        """Keeps them up to date until cancelled."""
        ...


class FileRoutes:
    """Implements `RouteSource` over resolved documents."""

    def __init__(self, places: Sequence[Path]) -> None:
        """Reads them, of files and folders.

        Raises:
            CommandError: there is none, or one can't be used.
        """
        files = [file for place in places for file in (sorted(place.glob("*.yaml")) if place.is_dir() else [place])]
        self._routes = {resolved.route.key: resolved for resolved in map(read_resolved_file, files)}
        if not self._routes:
            raise wrong_input("there is no resolved route", "name what `chaski provision` wrote")

    def served(self) -> Mapping[str, ResolvedRoute]:
        """As they were read."""
        return self._routes

    def known(self) -> RouteSnapshot:
        """As they were read."""
        return RouteSnapshot(self._routes.values())

    def unready(self) -> str | None:
        """Nothing."""
        return None

    async def follow(self) -> None:
        """Nothing changes."""
        await asyncio.Event().wait()


class ClusterRoutes:
    """Implements `RouteSource` over ChaskiRoutes."""

    def __init__(self, access: KubeAccess, namespaces: Sequence[str], clock: Clock) -> None:
        """`namespaces`: whose routes are shown; none means all. Must be made inside a running loop."""
        api = KubeApi(access, user_agent=f"chaski-console/{__version__}")
        self._routes = KubeRoutes(api, namespaces, clock, random.random)

    def served(self) -> Mapping[str, ResolvedRoute]:
        """Those whose queues the operator has made."""
        return {resolved.route.key: resolved for resolved in self._routes.served.values()}

    def known(self) -> RouteSnapshot:
        """Those that are not served too, with the reason."""
        unserved = {f"{namespace}/{name}": each.detail for (namespace, name), each in self._routes.unserved.items()}
        return RouteSnapshot(self._routes.served.values(), unserved, self._trouble())

    def unready(self) -> str | None:
        """Until the routes were listed once."""
        return self._routes.trouble()

    async def follow(self) -> None:
        """By a watch."""
        await self._routes.follow()

    def _trouble(self) -> str | None:
        deaf = self._routes.deaf()
        if deaf is None:
            return self._routes.trouble()
        told = "the routes are not known yet" if self._routes.trouble() else "routes are shown as they were last known"
        return f"The Kubernetes API server can't be read, so {told}: {deaf}"


def cluster_access() -> KubeAccess:
    """The API server and who we are there. CommandError: neither is known."""
    try:
        return kube_access()
    except NoKubeAccessError as error:
        raise wrong_input(f"--kubernetes: {error}") from error


class OpenedRoutes(Mapping[str, OpenBackend]):
    """Dead letters and queues of the routes that there are at the moment, by namespace/name."""

    def __init__(self, source: RouteSource, account: AwsAccount) -> None:
        self._source = source
        self._account = account
        self._kept: dict[str, OpenBackend] = {}

    def __getitem__(self, key: str) -> OpenBackend:
        resolved = self._source.served()[key]
        kept = self._kept.get(key)
        if kept is None or kept.routes[key] is not resolved:
            table = RouteTable(_table(resolved), resolved.route.retention_days)
            kept = OpenBackend(self._account.dead_letters(table), self._account.queue, {key: resolved})
            known = self._source.served()
            self._kept = {each: opened for each, opened in self._kept.items() if each in known} | {key: kept}
        return kept

    def __iter__(self) -> Iterator[str]:
        return iter([key for key, each in self._source.served().items() if each.dead_letter_table is not None])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _table(resolved: ResolvedRoute) -> str:
    if resolved.dead_letter_table is None:
        raise KeyError(resolved.route.key)
    return resolved.dead_letter_table
