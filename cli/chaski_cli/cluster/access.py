"""Access to the cluster whose ChaskiRoutes a command reads or changes."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chaski_core import __version__
from chaski_core.route.model import is_route_key
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, Object, object_path
from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError, kube_access
from chaski_runtime.kube.official import OfficialTransport
from chaski_runtime.process.command_error import CommandError, wrong_input

PLURAL = "chaskiroutes"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster and namespace, as given on the command line."""

    namespace: str | None = None  # None: that of the context
    context: str | None = None  # of the kubeconfig; None: the current one
    kubeconfig: Path | None = None  # None: as kubectl finds it

    @property
    def flags(self) -> tuple[str, ...]:
        """As given on the command line, without the namespace."""
        given = (("--context", self.context), ("--kubeconfig", self.kubeconfig))
        return tuple(word for flag, value in given if value is not None for word in (flag, str(value)))

    def place(self, access: KubeAccess, name: str) -> tuple[str, str]:
        """Namespace and name of a route given as NAMESPACE/NAME, or as NAME.

        Raises:
            CommandError: it has another form, or contradicts the namespace.
        """
        if "/" not in name:
            return self.namespace or access.namespace, name
        namespace, _, own = name.partition("/")
        if not is_route_key(name) or self.namespace not in (None, namespace):
            raise wrong_input(f"{name}: expected NAMESPACE/NAME, or NAME with --namespace", "for example: shop/orders")
        return namespace, own


async def with_api(options: ClusterOptions, use: Callable[[KubeApi], Awaitable[_Result]]) -> _Result:
    """Calls a function with a client of the cluster.

    Raises:
        CommandError: the cluster can't be reached, or refuses a request.
    """
    async with KubeApi(_access(options), user_agent=f"chaski-cli/{__version__}", transport=OfficialTransport) as api:
        try:
            return await use(api)
        except KubeRefusedError as error:
            if error.status == 404:
                raise wrong_input(
                    f"the ChaskiRoute was not found: {error}", "list those that exist: kubectl get chaskiroutes -A"
                ) from error
            raise CommandError(f"the API server refused it: {error}") from error
        except KubeApiError as error:
            raise CommandError(str(error)) from error


async def get_route(api: KubeApi, options: ClusterOptions, name: str) -> Object:
    """A ChaskiRoute by NAMESPACE/NAME or NAME."""
    namespace, own = options.place(api.access, name)
    return await api.get(object_path(GROUP_VERSION, PLURAL, namespace, own))


def _access(options: ClusterOptions) -> KubeAccess:
    environment = dict(os.environ)
    if options.kubeconfig is not None:
        environment["KUBECONFIG"] = str(options.kubeconfig)
    try:
        return kube_access(environment, options.context)
    except NoKubeAccessError as error:
        raise wrong_input(
            str(error), "this command works on a cluster; for a `chaski dev` use the commands with --data"
        ) from error
