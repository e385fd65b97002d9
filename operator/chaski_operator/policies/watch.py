"""The policies of the cluster and the labels of its namespaces, followed by watches.

Unknown is not permitted: until both were read, a route is neither accepted nor denied, and keeps what was decided last. While
the API server is unavailable later, the last known policies hold.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chaski_core.errors import InvalidRouteError
from chaski_core.policy.decision import selecting, violations
from chaski_core.policy.loading import KIND, labels_of, load_policy
from chaski_core.policy.model import Policy, Violation
from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_core.route.validation.crd import GROUP_VERSION, POLICIES
from chaski_operator.metrics import OperatorMetrics
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path
from chaski_runtime.kube.informer import Informer, Key

_log = logging.getLogger(__name__)
_PATH = object_path(GROUP_VERSION, POLICIES)
_NAMESPACES = object_path("v1", "namespaces")
_FIRST_READ_SECONDS = 10.0
_RETRY_SECONDS = 10.0  # between two attempts to read whether the CRD exists
_RIGHTS = "give the operator the ClusterRole of the chart for policies, or start it with --no-policies"


class ClusterPolicies:
    """Judges routes by the ChaskiPolicies that select their namespaces."""

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        random: Callable[[], float],
        *,
        on_change: Callable[[str | None], None],
        metrics: OperatorMetrics,
        enabled: bool = True,
    ) -> None:
        """Makes no call yet.

        Args:
            api: the API server.
            clock: time.
            random: a number from 0 to below 1.
            on_change: called with the namespace whose routes must be judged again; None: those of all.
            metrics: of the process.
            enabled: False: no route is restricted, and nothing is read.
        """
        self._api = api
        self._on_change = on_change
        self._enabled = enabled
        self._is_missing = not enabled  # there are no policies, for example because the CRD is not installed
        self._found: dict[Key, Sequence[Violation]] = {}  # by route, as judged last
        self._labels: dict[str, Mapping[str, str]] = {}
        self._policies: Informer[Policy | None] = Informer(
            api, _PATH, _read_policy, clock, random, on_change=self._policy_changed
        )
        self._namespaces: Informer[Mapping[str, str]] = Informer(
            api, _NAMESPACES, _read_labels, clock, random, on_change=self._namespace_changed
        )
        metrics.observe_policies(self._counts, lambda: int(self.is_known()))

    def is_known(self) -> bool:
        """Whether policies and namespaces were read."""
        return self._is_missing or (self._policies.synced and self._namespaces.synced)

    def awaits(self, namespace: str) -> bool:
        """Whether only the event of a new namespace is missing, after which its routes are judged."""
        return not self._is_missing and self.is_known() and ("", namespace) not in self._namespaces.items

    def judge(self, route: Route) -> Sequence[Violation] | None:
        """Every field with which a route does not comply; None: unknown, so what was decided last holds."""
        if self._is_missing:
            return []
        labels, policies = self._namespaces.items.get(("", route.namespace)), list(self._policies)
        if not self.is_known() or labels is None:
            return None
        found = violations(route, selecting((each for each in policies if each is not None), labels))
        if not found and None in policies:
            return None
        self._found[route.namespace, route.name] = found
        return found

    def forget(self, key: Key) -> None:
        """Drops a deleted route."""
        self._found.pop(key, None)

    async def first_read(self) -> None:
        """Waits until the policies are known, but for a short time only: they hold up no route that was accepted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_READ_SECONDS):
                await self._known()

    async def follow(self) -> None:
        """Follows until cancelled; returns at once if not enabled."""
        if not self._enabled:
            return
        await self._await_definition()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._policies.run())
            tasks.create_task(self._namespaces.run())
            tasks.create_task(self._report_synced())

    async def _await_definition(self) -> None:
        """Waits until the CRD is installed: until then there are no policies."""
        reported = ""
        while True:
            try:
                await self._api.get(_PATH, limit="1")
            except KubeRefusedError as error:
                if error.status == 404:
                    if not self._is_missing:
                        self._is_missing = True
                        _log.info("the CRD of %s is not installed: no route is restricted by policies", KIND)
                        self._on_change(None)
                elif reported != (reported := f"policies can't be read: {error}; {_RIGHTS}"):
                    _log.warning("%s", reported)
            except KubeApiError as error:
                if reported != (reported := f"policies can't be read: {error}; trying again"):
                    _log.warning("%s", reported)
            else:
                self._is_missing = False
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _report_synced(self) -> None:
        """Has all routes judged once everything was read."""
        await self._known()
        self._on_change(None)

    async def _known(self) -> None:
        while not self.is_known():  # noqa: ASYNC110 - informers have no event for it
            await asyncio.sleep(0.05)

    def _policy_changed(self, _key: Key, _policy: object) -> None:
        if self.is_known():
            self._on_change(None)

    def _namespace_changed(self, key: Key, labels: Mapping[str, str] | None) -> None:
        before = self._labels.pop(key[1], None)
        if labels is None:
            return
        self._labels[key[1]] = labels
        if labels != before and self.is_known():
            self._on_change(key[1])

    def _counts(self) -> dict[tuple[str, ...], int]:
        counts: Counter[tuple[str, ...]] = Counter()
        for key, found in list(self._found.items()):
            counts.update((*key, each.policy) for each in found)
        return dict(counts)


def _read_policy(document: Mapping[str, Any]) -> Policy | None:
    """A policy; None if this release can't read it, since a field that it does not know could restrict more."""
    name = document["metadata"]["name"]
    declared = {
        "apiVersion": GROUP_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": document.get("spec"),
    }
    try:
        return load_policy(declared)
    except InvalidRouteError as error:
        _log.error(
            "%s %s can't be read by this release, so routes keep what was decided last: %s; upgrade the operator",
            *(KIND, name, error),
        )
        return None


def _read_labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    return labels_of(document["metadata"])
