"""What the autoscaler reads from a worker's page."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from chaski_operator.autoscaling.policy import Pods
from chaski_operator.pods.metrics_client import PodFigures, Scraper, figures, pod_place, together
from chaski_runtime.observability.metrics.instruments import LaneReading, Metrics


def page(*readings: LaneReading, attempts: int = 0) -> str:
    """A worker's page."""
    metrics = Metrics()
    metrics.observe_lanes(lambda: readings)
    for _ in range(attempts):
        metrics.attempt(
            namespace="n", route="r", queue="q", stage="first", target='a"}{', outcome="delivered",
            error_class="none", duration_seconds=0.1,
        )  # fmt: skip
    return metrics.render().decode()


def reading(lanes: int, held_bytes: int = 5, mean: float | None = 0.25) -> LaneReading:
    """A worker with so many lanes of 10 and bytes of 100."""
    return LaneReading("n", "r", "q", lanes, 0, lanes, held_bytes, 10, 100, 5, subjects=7, mean_attempt_seconds=mean)


@pytest.mark.parametrize(
    ("told", "full"),
    [(reading(3), False), (reading(10), True), (reading(11), True), (reading(3, held_bytes=100), True)],
    ids=["room", "lanes", "more lanes", "bytes"],
)
def test_a_workers_own_page_is_understood(told: LaneReading, full: bool) -> None:
    """As the worker renders it, labels with brackets and all."""
    assert figures(page(told, attempts=3)) == PodFigures(told.busy_lanes, full, 7, 3, 0.25)


def test_what_a_worker_lacks_is_read_and_put_together() -> None:
    """A gauge of 1 is a shortage; 0 is one that is over, and labels may hold anything."""
    lines = (
        'chaski_shortage{namespace="n",reason="descriptors",route="r",target="all"} 1.0\n'
        'chaski_shortage{namespace="n",reason="certificate",route="r",target="a} b\\"c"} 1\n'
        'chaski_shortage{namespace="n",reason="memory",route="r",target="all"} 0.0\n'
    )
    told = figures(page(reading(1)) + lines)
    assert told is not None
    assert told.shortages == {("descriptors", "all"), ("certificate", 'a} b\\"c')}
    other = replace(told, shortages=frozenset({("ports", "crm")}))
    assert together([told, None, other]).shortages == told.shortages | {("ports", "crm")}


@pytest.mark.parametrize("text", ["", "not metrics", page(), 'chaski_lanes{state="busy"} many\n'])
def test_a_page_that_is_no_workers_tells_nothing(text: str) -> None:
    """A worker that has not begun to poll is such a one."""
    assert figures(text) is None


@pytest.mark.parametrize("ages", [(None, None), (60.0, None), (60.0, 3_600.0)])
def test_age_of_what_was_received_is_the_oldest_of_all_lines(ages: tuple[float | None, ...]) -> None:
    """A Pod that looks after several queues; one that received nothing tells nothing."""
    lines = [
        replace(reading(0), queue=f"q{number}", oldest_received_age_seconds=age) for number, age in enumerate(ages)
    ]
    told = figures(page(*lines))
    assert told is not None
    assert told.oldest_received_age == max((age for age in ages if age is not None), default=None)
    assert together([told, None]).oldest_received_age == told.oldest_received_age


def test_pods_are_summed_and_the_mean_is_weighed() -> None:
    """One that is silent is counted, not guessed."""
    told = [
        PodFigures(30, True, 40, 10, 1.0),
        PodFigures(10, False, 50, 20, 3.0),
        None,
        PodFigures(0, False, 0, 0, None),
    ]
    assert together(told) == Pods(3, silent=1, full=1, lanes=40, subjects=50, attempts=30, attempt_seconds=1.5)
    assert together([]) == Pods(0)


@pytest.fixture
async def pods() -> AsyncIterator[str]:
    """Pods that answer, hang, fail and babble, by path."""

    async def answer(request: web.Request) -> web.Response:
        kind = request.path.strip("/")
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "move":
            raise web.HTTPFound("/good")
        if kind == "babble":
            return web.Response(body=b"x" * (17 * 1024 * 1024))
        return web.Response(text=page(reading(2)), status=500 if kind == "fail" else 200)

    app = web.Application()
    app.router.add_get("/{kind}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_pods_that_do_not_answer_well_are_silent(pods: str) -> None:
    """None of them keeps the others from being heard."""
    scraper = Scraper(seconds=2.0)
    try:
        urls = [f"{pods}/{kind}" for kind in ("good", "hang", "fail", "babble", "move")]
        told = await scraper.ask([*urls, "http://127.0.0.1:1/metrics"])
    finally:
        await scraper.close()
    assert (told.told, told.silent, told.lanes) == (1, 5, 2)


def test_a_pod_is_asked_where_it_says_its_metrics_are() -> None:
    """Only while it is ready and not on its way out."""
    pod = {
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"ports": [{"name": "metrics", "containerPort": 1234}]}]},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    place = pod_place(pod)
    assert (place.url, place.ready, place.labels) == ("http://10.0.0.1:1234/metrics", True, {"a": "b"})
    assert not pod_place({**pod, "metadata": {"name": "p", "deletionTimestamp": "now"}}).ready
    assert not pod_place({**pod, "status": {"podIP": "10.0.0.1"}}).ready
    assert not pod_place({**pod, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}).ready
    bare = pod_place({"metadata": {"name": "p"}, "spec": {"containers": [{}]}, "status": {"podIP": "fd00::1"}})
    assert (bare.url, bare.ready) == ("http://[fd00::1]:9090/metrics", False)
