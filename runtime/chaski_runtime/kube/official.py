"""Requests by the official client (`kubernetes.aio`): kubeconfigs with plugins, proxies and impersonation.

The operator, the console and the CLI use it. It takes 20 MiB and 0.2 s of CPU to import (docs/processes.md), so it is imported only
where it is used, and never by ingest or a worker. Only `ApiClient` and the configuration are used; see `client` for its watch and
`chaski_operator.kube.lease` for its leader election.
"""

import asyncio
import time
from collections.abc import Callable

import aiohttp
from kubernetes.aio.client import ApiClient

from chaski_runtime.kube.client import KubeUnavailableError
from chaski_runtime.kube.config import KubeAccess, ReloadedAccess
from chaski_runtime.kube.credentials import LoadedCredentials, load
from chaski_runtime.kube.transport import (
    APPLY,
    JSON,
    ApiRequest,
    ConnectionPools,
    admission,
    admission_traces,
    encoded,
)

_LOAD_SECONDS = 60.0  # until a credential plugin must have answered
_SHORTEST_RELOAD_SECONDS = 10.0  # between two reloads because of a 401
_UNAUTHORIZED = 401


class OfficialTransport:
    """Implements `Transport` on the official client.

    Credentials are loaded again when their files change, shortly before they expire, and after a 401. New connections are
    made with them.
    """

    def __init__(self, access: KubeAccess, user_agent: str, now: Callable[[], float] = time.time) -> None:
        """Makes no connection and runs no plugin yet. `now`: Unix seconds."""
        self._access = ReloadedAccess(access, lambda changed: changed)
        self._user_agent = user_agent
        self._now = now
        self._credentials: LoadedCredentials | None = None
        self._loading: asyncio.Task[LoadedCredentials] | None = None
        self._pools = ConnectionPools[ApiClient]()

    async def send(self, request: ApiRequest, timeouts: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        api = await self._api()
        body, content_type = request.body, request.content_type
        if content_type == APPLY:
            # Without the parameter the client would encode the body itself, in a way that is JSON but not YAML.
            body, content_type = encoded(request), f"{APPLY}; charset=utf-8"
        method, url, headers, _, _ = await api.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query.items()),
            header_params={"Accept": JSON, "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        with admission(request):
            # The body passes by `param_serialize`, which copies it to replace models: there are none.
            response = await api.call_api(method, url, headers, body, _request_timeout=timeouts)
        if response.status == _UNAUTHORIZED and self._may_reload():
            self._credentials = None
        answer: aiohttp.ClientResponse = response.response
        return answer

    async def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await self._pools.close()

    def _may_reload(self) -> bool:
        loaded = self._credentials
        return loaded is not None and loaded.renewable and self._now() - loaded.loaded_at > _SHORTEST_RELOAD_SECONDS

    async def _api(self) -> ApiClient:
        """The client with current credentials.

        Raises:
            KubeUnavailableError: they can't be loaded at the moment.
            OSError: a file is missing.
        """
        access, loaded = self._access.read(), self._credentials
        if loaded is None or loaded.access is not access or self._now() >= loaded.refresh_at:
            loaded = self._credentials = await self._load(access)
        api = self._pools.current
        if api is None or api.configuration is not loaded.configuration:
            loaded.configuration.trace_configs = admission_traces()
            api = ApiClient(loaded.configuration)
            api.user_agent = self._user_agent
            await self._pools.replace(api)
        return api

    async def _load(self, access: KubeAccess) -> LoadedCredentials:
        """Loads the credentials, once for all callers: a plugin that hangs is not started a second time."""
        if self._loading is None:
            self._loading = asyncio.create_task(load(access, self._now()))
        loading = self._loading
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                return await asyncio.shield(loading)
        except TimeoutError as error:
            raise KubeUnavailableError(f"the credential plugin did not answer within {_LOAD_SECONDS:.0f} s") from error
        finally:
            if loading.done() and self._loading is loading:
                self._loading = None
