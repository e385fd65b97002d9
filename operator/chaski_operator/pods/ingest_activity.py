"""What the Pods of ingest put on queues: asks each of them every second, so that idle queues need no calls to SQS.

A Pod that ends answers once more, marked as final. Where one vanished without that, or was restarted, what it has sent since its
last response is unknown, and so is what any queue holds. While a Pod does not answer, the counts of SQS are read as usual.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from chaski_core.ports import Clock
from chaski_operator.pods.metrics_client import pod_session, read_limited
from chaski_operator.settings import IngestService
from chaski_runtime.kube.client import KubeApi, object_path
from chaski_runtime.kube.informer import Informer

_log = logging.getLogger(__name__)
_PATH = "/v1/activity"
_PORT = "metrics"
_ASK_SECONDS = 1.0  # between two requests to a Pod
_TIMEOUT_SECONDS = 3.0
_STALE_SECONDS = 10.0  # without a response after which a Pod counts as silent
_MAX_RESPONSE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Pod of ingest."""

    pod: str
    url: str  # of its activity
    serving: bool  # it is ready, or still answers while it ends


@dataclass(frozen=True, slots=True)
class Report:
    """What queues may hold that was not known before."""

    accepted: frozenset[str] = frozenset()  # URLs of queues that have stored messages since
    uncertain: frozenset[str] = frozenset()  # URLs of queues to which calls have failed: they may have stored messages
    lost: bool = False  # a Pod ended without a last response: any queue may have


@dataclass(slots=True)
class _Pod:
    """The last response of a Pod."""

    epoch: str = ""
    cursor: int = 0
    at: float | None = None  # monotonic; None: it has not answered yet
    final: bool = False

    def is_known(self, now: float) -> bool:
        """Whether it is known what it has sent."""
        return self.final or (self.at is not None and now - self.at <= _STALE_SECONDS)


@dataclass(slots=True)
class PodReports:
    """The responses of all Pods. Pure: endpoints, responses and times are arguments."""

    pods: dict[str, _Pod] = field(default_factory=dict)

    def known(self, pod: str) -> _Pod:
        """The last response of a Pod; an empty one at first."""
        return self.pods.setdefault(pod, _Pod())

    def answered(self, pod: str, response: dict[str, Any], now: float) -> Report:
        """Notes a response. Raises KeyError, TypeError or ValueError for one that no ingest sends."""
        before = self.known(pod)
        epoch, cursor, final = str(response["epoch"]), int(response["cursor"]), response["final"] is True
        report = Report(
            _texts(response["accepted"]),
            _texts(response["uncertain"]),
            lost=bool(before.epoch) and before.epoch != epoch and not before.final,
        )
        self.pods[pod] = _Pod(epoch, cursor, now, final)
        return report

    def retain(self, pods: Iterable[str]) -> Report:
        """Forgets Pods that exist no longer."""
        gone = [self.pods.pop(name) for name in self.pods.keys() - set(pods)]
        return Report(lost=any(each.epoch and not each.final for each in gone))

    def complete(self, endpoints: Iterable[Endpoint], now: float) -> bool:
        """Whether every Pod that serves, of at least one, has answered recently: a queue that none named got nothing."""
        serving = [self.pods.get(each.pod) for each in endpoints if each.serving]
        return bool(serving) and all(each is not None and each.is_known(now) for each in serving)


def endpoints_of(endpoint_slice: dict[str, Any]) -> tuple[Endpoint, ...]:
    """The Pods of an EndpointSlice with an address, whatever their state.

    https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/: a missing condition counts as true.
    """
    port = next((each["port"] for each in endpoint_slice.get("ports") or () if each.get("name") == _PORT), None)
    found = []
    for each in endpoint_slice.get("endpoints") or ():
        conditions, address = each.get("conditions") or {}, str(each["addresses"][0])
        host = f"[{address}]" if ":" in address else address
        target = each.get("targetRef") or {}
        serving = conditions.get("ready") is not False or conditions.get("serving") is True
        if port is not None:
            name = str(target.get("uid") or target.get("name") or address)
            found.append(Endpoint(name, f"http://{host}:{int(port)}{_PATH}", serving))
    return tuple(found)


class IngestActivity:
    """Asks the Pods of ingest. Call `run` once; `complete` at any time."""

    def __init__(
        self,
        api: KubeApi,
        service: IngestService,
        clock: Clock,
        random: Callable[[], float],
        on_report: Callable[[Report], None],
    ) -> None:
        """Makes no call yet.

        Args:
            api: the API server; follows the Service's EndpointSlices.
            service: of ingest.
            clock: time.
            random: a number from 0 to below 1.
            on_report: called with what is new; not where nothing is.
        """
        self._token_file = service.token_file
        self._clock = clock
        self._on_report = on_report
        self._reports = PodReports()
        self._failure = ""  # why the last request failed
        self._asking: dict[str, asyncio.Task[None]] = {}  # requests in progress, by Pod: one that hangs delays no other
        namespace, _, name = service.service.partition("/")
        self._informer = Informer(
            api,
            object_path("discovery.k8s.io/v1", "endpointslices", namespace),
            endpoints_of,
            clock,
            random,
            selector=f"kubernetes.io/service-name={name}",
        )

    def complete(self) -> bool:
        """Whether it is known which queues got messages from ingest."""
        if not self._informer.synced or self._informer.error is not None:
            return False
        return self._reports.complete(self._endpoints(), self._clock.monotonic())

    async def run(self) -> None:
        """Asks until cancelled."""
        async with asyncio.TaskGroup() as group, pod_session(_TIMEOUT_SECONDS) as session:
            group.create_task(self._informer.run())
            while True:
                await self._ask_all(session, group)
                await asyncio.sleep(_ASK_SECONDS)

    async def _ask_all(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        endpoints = {each.pod: each for each in self._endpoints()}  # a Pod has one in each family of addresses
        if self._informer.synced:
            self._report(self._reports.retain(endpoints))
        token = self._token()
        for pod, endpoint in endpoints.items():
            if token is not None and pod not in self._asking:
                self._asking[pod] = task = group.create_task(self._ask(session, endpoint, token))
                task.add_done_callback(lambda _, pod=pod: self._asking.pop(pod))  # type: ignore[misc]

    async def _ask(self, session: aiohttp.ClientSession, endpoint: Endpoint, token: str) -> None:
        known = self._reports.known(endpoint.pod)
        query, headers = {"cursor": str(known.cursor), "epoch": known.epoch}, {"Authorization": f"Bearer {token}"}
        try:
            async with session.get(endpoint.url, params=query, headers=headers, allow_redirects=False) as response:
                body = await read_limited(response, _MAX_RESPONSE_BYTES)
            if body is None:
                self._on_failure(f"{endpoint.url} answered {response.status}", endpoint)
                return
            self._report(self._reports.answered(endpoint.pod, orjson.loads(body), self._clock.monotonic()))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._on_failure(f"{endpoint.url}: {error!r}", endpoint)
        except (KeyError, TypeError, ValueError) as error:
            self._on_failure(f"{endpoint.url} sent a response that no ingest sends: {error!r}", endpoint)
        except Exception:  # noqa: BLE001 - no exception may end the autoscaler
            _log.exception("could not note what %s has sent", endpoint.url)

    def _report(self, report: Report) -> None:
        if report.lost:
            _log.info("a Pod of ingest ended without a last response: the queues of all routes are counted again")
        if report.lost or report.accepted or report.uncertain:
            self._on_report(report)

    def _on_failure(self, reason: str, endpoint: Endpoint) -> None:
        is_expected = not endpoint.serving or self._reports.known(endpoint.pod).final  # it has ended
        if not is_expected and reason != self._failure:
            _log.warning("%s; until it answers, idle queues are counted as often as others", reason)
            self._failure = reason

    def _token(self) -> str | None:
        """Read again each time: the kubelet renews it."""
        try:
            return self._token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = f"can't read {self._token_file}, so ingest can't be asked what it accepted: {error}"
            if reason != self._failure:
                _log.warning("%s", reason)
                self._failure = reason
            return None

    def _endpoints(self) -> Iterator[Endpoint]:
        for each in self._informer:
            yield from each


def _texts(values: Any) -> frozenset[str]:
    return frozenset(map(str, values))
