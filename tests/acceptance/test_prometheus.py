"""The experiment of the design, read back from a real Prometheus by the documented queries. About 80 seconds."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio

from chaski_cli.demo import experiment
from support.devs import DevServer, dev_server, queued_total, route, send_batch, settled_total
from support.prometheus import Prometheus, documented_queries, prometheus

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

QUERIES = documented_queries(Path(__file__).parents[2] / "docs" / "metrics.md")
CROWD = 100_000
MAX_VALUES = 200
BATCH = 5_000


@contextlib.asynccontextmanager
async def experiment_target() -> AsyncIterator[str]:
    """The demo's target; its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "chaski_cli.demo.target", stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{orjson.loads(await asyncio.wait_for(process.stdout.readline(), 30))['port']}"
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[DevServer, Prometheus]]:
    """`chaski dev` after the experiment, with a route for a crowd beside it, and the Prometheus that scrapes it."""
    folder = tmp_path_factory.mktemp("prometheus")
    crowd = {"subjectGroup": {"pattern": "^(.*)$", "maxValues": MAX_VALUES}, "suspend": {"delivery": True}}
    async with (
        experiment_target() as target,
        dev_server(folder, experiment.route_document(target), route("crowd", target, **crowd)) as dev,
        prometheus(folder, [dev.metrics_url]) as server,
        aiohttp.ClientSession() as http,
    ):
        for message in experiment.messages(target):
            async with http.post(f"{dev.url}/v1/routes/{experiment.ROUTE}/messages", json=message) as answer:
                assert answer.status == 202
        async with asyncio.timeout(180):
            while await settled_total(http, dev.metrics_url) < 200 or await queued_total(http, dev.metrics_url):
                await asyncio.sleep(0.5)
        yield dev, server


async def test_the_experiment_is_read_back_exactly(served: tuple[DevServer, Prometheus]) -> None:
    """Every cell of the table, by the queries that the documentation gives, from what Prometheus has stored."""
    _, server = served
    await server.until('sum(chaski_messages_settled_total{route="experiment"})', 200)
    await server.until('sum(chaski_queue_messages{route="experiment"})', 0)
    assert await server.by("subject_group", QUERIES["messages by client"]) == {"test_subject": 200}
    by_target = {
        question: await server.by("target", QUERIES[question])
        for question in (
            "requests by target",
            "retries by target",
            "failed attempts in the error-consumer by target",
            "delivered, by target",
            "dead letters, by target",
        )
    }
    assert by_target == {
        "requests by target": {"200": 50, "400": 250, "500": 300, "timeout": 200},
        "retries by target": {"400": 200, "500": 250, "timeout": 150},
        "failed attempts in the error-consumer by target": {"400": 200, "500": 250, "timeout": 150},
        "delivered, by target": {"200": 50},
        "dead letters, by target": {"400": 50, "500": 50, "timeout": 50},
    }
    assert await server.by("subject_group", QUERIES["errors by client"]) == {"test_subject": 150}


@pytest.mark.promise(13)
async def test_nothing_is_unaccounted_for(served: tuple[DevServer, Prometheus]) -> None:
    """What was accepted was delivered, is a dead letter, or is pending."""
    _, server = served
    await server.until('sum(chaski_queue_messages{route="experiment"})', 0)
    by_route = await server.by("route", QUERIES["messages not accounted for"])
    assert by_route["experiment"] == 0


@pytest.mark.promise(12)
async def test_a_hundred_thousand_subjects_stay_within_the_stated_bound(served: tuple[DevServer, Prometheus]) -> None:
    """One queue and `maxValues` 200: at most Q x (V + 2) series of the only metric of ingest with a subject in it."""
    dev, server = served
    counting = 'count(count by (__name__, subject_group, route, instance) ({__name__=~"chaski_.+",route="crowd"}))'
    async with aiohttp.ClientSession() as http:
        for begin in range(0, CROWD, BATCH):
            lines = [
                {"subject": f"subject-{number * 7919 % CROWD}", "body": {"url": "http://127.0.0.1:1/"}}
                for number in range(begin, begin + BATCH)
            ]
            answers = await send_batch(http, dev.url, "t/crowd", lines)
            assert {each["status"] for each in answers} == {202}
    await server.until('sum(chaski_messages_accepted_total{route="crowd"})', CROWD)
    await server.until('count(chaski_messages_accepted_total{route="crowd"})', MAX_VALUES + 1)  # and `other`
    await server.until('sum(chaski_messages_accepted_total{subject_group="other"})', CROWD - MAX_VALUES)
    ((_, series),) = await server.query(counting)
    assert series <= MAX_VALUES + 2 + 20  # and the gauges of its queue and rungs
    assert await server.query("chaski_metric_overflows_total") == []
