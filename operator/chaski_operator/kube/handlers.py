"""Watch events by kopf, passed to plain functions.

Only kopf's raw events are used: its change detection computes differences and stores them in annotations, whereas a
route is always reconciled as a whole. So kopf writes nothing, and needs no finalizer.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import kopf

from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.kube.login import connection_info
from chaski_operator.manifests.kinds import Kind, Object
from chaski_operator.manifests.names import OWNED_SELECTOR
from chaski_runtime.kube.config import KubeAccess

EventHandler = Callable[
    [str | None, Object], None
]  # ADDED, MODIFIED, DELETED or None (from the initial list); the object


def event_registry(
    access: KubeAccess, on_route: EventHandler, kinds: dict[Kind, EventHandler]
) -> kopf.OperatorRegistry:
    """A kopf registry whose handlers run on the event loop that is running now.

    Args:
        access: the API server.
        on_route: receives every event of a ChaskiRoute.
        kinds: receive every event of the operator's own objects of a kind.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(access)

    group, _, version = GROUP_VERSION.partition("/")
    kopf.on.event(group, version, "chaskiroutes", id="routes", registry=registry)(_forward_to(on_route))
    for kind, handler in kinds.items():
        kind_group, _, kind_version = kind.api_version.rpartition("/")
        kopf.on.event(kind_group, kind_version, kind.plural, id=kind.plural, registry=registry)(_forward_to(handler))
    return registry


def kopf_settings(kinds: list[Kind]) -> kopf.OperatorSettings:
    """Kopf's settings: watch only the operator's own objects, selected by the API server; no scan for other resources."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.connect_timeout = 10.0
    settings.watching.server_timeout = 300  # the API server accepts whole seconds only
    for kind in kinds:
        group, _, version = kind.api_version.rpartition("/")
        settings.watching.label_selectors[(group, version, kind.plural)] = OWNED_SELECTOR
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # warns that it does not handle signals
    return settings


class KopfThread:
    """Runs kopf in a thread with a loop of its own: on exit kopf cancels all tasks of its event loop."""

    def __init__(self, registry: kopf.OperatorRegistry, namespaces: Sequence[str], kinds: list[Kind]) -> None:
        self._registry = registry
        self._namespaces = namespaces
        self._kinds = kinds
        self._stopped = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Requests the end; `ended` waits for it."""
        self._stopped.set()

    async def ended(self) -> str:
        """Waits for the end, requested or not; returns its cause."""
        return str(await asyncio.shield(self._ended))

    def _run(self) -> None:
        cause = "ended"
        try:
            asyncio.run(self._operate())
        except Exception as error:  # noqa: BLE001 - API server unavailable, CRD deleted: `ended` returns the cause
            cause = repr(error)
        with contextlib.suppress(RuntimeError):  # the other loop is closed already
            self._loop.call_soon_threadsafe(self._ended.set_result, cause)

    async def _operate(self) -> None:
        await kopf.operator(
            registry=self._registry,
            settings=kopf_settings(self._kinds),
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            stop_flag=self._stopped,
        )


def _forward_to(handler: EventHandler) -> Callable[..., Any]:
    loop = asyncio.get_running_loop()

    async def forward(event: Any, **_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # at the end of the process the other loop closes first
            loop.call_soon_threadsafe(handler, event["type"], event["object"])

    return forward
