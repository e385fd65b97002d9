"""The thin part on kopf: what it watches, and whom it tells.

Raw events only: kopf's own change detection works with differences and keeps them in annotations, whereas a route is
always looked at as a whole. So kopf writes nothing, and needs no finalizer.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.manifests.manifests import Kind, Object
from chaski_operator.manifests.names import OWNED_SELECTOR
from chaski_runtime.kube.config import KubeAccess

_LOGIN_MINUTES = 10.0  # a Pod's token is renewed on disk; it is read again so often

Seen = Callable[[str | None, Object], None]  # ADDED, MODIFIED, DELETED or None (was there before); the object


def registry(access: KubeAccess, on_route: Seen, kinds: dict[Kind, Seen]) -> kopf.OperatorRegistry:
    """What kopf is to watch, and whom it tells: functions that are called on the loop which is running now.

    Args:
        access: the API server.
        on_route: told of every event of a ChaskiRoute.
        kinds: told of every event of the operator's own objects of a kind.
    """
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=access.server,
            ca_data=access.ca_pem,
            insecure=access.insecure,
            token=access.bearer_token(),
            certificate_data=access.client_cert_pem,
            private_key_data=access.client_key_pem,
            default_namespace=access.namespace,
            expiration=datetime.now(UTC) + timedelta(minutes=_LOGIN_MINUTES) if access.token_file else None,
        )

    group, _, version = GROUP_VERSION.partition("/")
    kopf.on.event(group, version, "chaskiroutes", id="routes", registry=made)(_teller(on_route))
    for kind, seen in kinds.items():
        kind_group, _, kind_version = kind.api_version.rpartition("/")
        kopf.on.event(kind_group, kind_version, kind.plural, id=kind.plural, registry=made)(_teller(seen))
    return made


def kopf_settings(kinds: list[Kind]) -> kopf.OperatorSettings:
    """How kopf watches: only our own objects, which the API server selects, and no scan of what else there is."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.connect_timeout = 10.0
    settings.watching.server_timeout = 300  # the API server takes whole seconds only
    for kind in kinds:
        group, _, version = kind.api_version.rpartition("/")
        settings.watching.label_selectors[(group, version, kind.plural)] = OWNED_SELECTOR
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # that signals are not its business
    return settings


class KopfThread:
    """Runs kopf in a thread of its own: it takes every task of its event loop for its own, and cancels it at the end."""

    def __init__(self, made: kopf.OperatorRegistry, namespaces: Sequence[str], kinds: list[Kind]) -> None:
        self._registry = made
        self._namespaces = namespaces
        self._kinds = kinds
        self._stopped = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name="kopf", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Asks it to end."""
        self._stopped.set()

    async def ended(self) -> str:
        """Waits until it has ended, by itself or because it was asked to; why."""
        return str(await asyncio.shield(self._ended))

    def _work(self) -> None:
        why = "ended"
        try:
            asyncio.run(self._operate())
        except Exception as error:  # noqa: BLE001 - the API server away, a definition that went: whoever waits is told
            why = repr(error)
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            self._loop.call_soon_threadsafe(self._ended.set_result, why)

    async def _operate(self) -> None:
        await kopf.operator(
            registry=self._registry,
            settings=kopf_settings(self._kinds),
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            stop_flag=self._stopped,
        )


def _teller(seen: Seen) -> Callable[..., Any]:
    loop = asyncio.get_running_loop()

    async def tell(event: Any, **_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the other loop ends first at the end of the process
            loop.call_soon_threadsafe(seen, event["type"], event["object"])

    return tell
