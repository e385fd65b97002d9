"""What ingest reports to the operator: which queues it has sent to since a cursor."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
import pytest

from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage
from chaski_ingest.activity import PATH, Activity, handler
from chaski_ingest.auth.token_review import Denied
from chaski_ingest.settings import SendingSettings
from chaski_ingest.submission.queue_batching import Batcher
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process import health
from unit.ingest.fakes import FakeBackend, FakeClock


def read(activity: Activity, cursor: int = 0, epoch: str = "") -> dict[str, Any]:
    """A response."""
    response: dict[str, Any] = orjson.loads(activity.since(cursor, epoch))
    return response


def test_each_queue_is_reported_once_for_each_time_it_was_noted() -> None:
    """By every caller's own cursor; a lost response loses nothing; another epoch starts from the beginning."""
    activity = Activity("e1", FakeClock().monotonic)
    activity.note("u1", stored=True)
    activity.note("u2", stored=False)
    activity.note("u1", stored=True)
    first = read(activity)
    assert first == {"epoch": "e1", "cursor": 1, "accepted": ["u1"], "uncertain": ["u2"], "final": False}
    assert read(activity, 1, "e1")["accepted"] == []
    activity.note("u3", stored=True)
    activity.note("u1", stored=True)
    for _ in range(2):  # the first response is lost
        assert set(read(activity, 1, "e1")["accepted"]) == {"u1", "u3"}
    assert read(activity, 4, "e1")["accepted"] == []
    assert set(read(activity, 4, "e0")["accepted"]) == {"u1", "u3"}


def test_queues_that_were_noted_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whatever routes were deleted."""
    monkeypatch.setattr("chaski_ingest.activity._MAX_QUEUES", 3)
    activity = Activity("e1", FakeClock().monotonic)
    for number in range(5):
        read(activity)
        activity.note(f"u{number}", stored=True)
    assert read(activity)["accepted"] == ["u4", "u3", "u2"]


@pytest.mark.promise(2)
async def test_every_call_to_a_queue_is_noted_when_it_has_ended() -> None:
    """Acknowledged or not: after a call that failed the queue may have its messages all the same."""
    noted: list[tuple[str, bool]] = []
    backend = FakeBackend()
    batcher = Batcher(backend, SendingSettings(), lambda _: None, lambda *sent: noted.append(sent))  # type: ignore[arg-type]
    message = OutgoingMessage(b"{}", "g", "d")
    await batcher.send("u1", message)
    backend.queue("u2").error = BackendUnavailableError("no answer")
    await batcher.send("u2", message)
    backend.queue("u3").outcome = lambda *_: Failed("InternalError", "no", sender_fault=False)
    await batcher.send("u3", message)
    assert noted == [("u1", True), ("u2", False), ("u3", False)]


@pytest.mark.promise(14)
async def test_only_the_operator_may_ask() -> None:
    """Names of routes are no business of other programs that reach the metrics."""
    activity = Activity("e1", FakeClock().monotonic)
    activity.note("u1", stored=True)

    async def authorize(headers: Mapping[str, str]) -> Denied | None:
        return None if headers.get("Authorization") == "Bearer x" else Denied(401, "missing credentials")

    server = await health.start(
        "127.0.0.1",
        0,
        metrics=MetricsRegistry(),
        live=lambda: None,
        ready=lambda: None,
        more={PATH: handler(activity, authorize)},
    )
    try:
        async with aiohttp.ClientSession(server.url) as session:
            async with session.get(PATH) as response:
                assert (response.status, await response.text()) == (401, "missing credentials\n")
            session.headers["Authorization"] = "Bearer x"
            async with session.get(PATH, params={"cursor": "x"}) as response:
                assert response.status == 400
            async with session.get(PATH) as response:
                assert (await response.json())["accepted"] == ["u1"]
    finally:
        await server.close()


@pytest.mark.looptime
@pytest.mark.promise(2)
async def test_a_process_that_ends_is_asked_last() -> None:
    """It waits for the operator's next request, and says that nothing follows; not without requests, nor for long."""
    loop = asyncio.get_running_loop()
    alone = Activity("e1", loop.time)
    await alone.end()
    assert loop.time() < 0.1
    activity = Activity("e2", loop.time)
    read(activity)
    ending = asyncio.create_task(activity.end())
    await asyncio.sleep(1)
    assert not ending.done()
    activity.note("u1", stored=True)  # no such call is left, but it would be reported
    assert read(activity, 1, "e2")["final"]
    await ending
    deserted = Activity("e3", loop.time)
    read(deserted)
    began = loop.time()
    await deserted.end()
    assert loop.time() - began == pytest.approx(3, abs=0.1)
