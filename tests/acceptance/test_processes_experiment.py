"""The experiment with separate processes and DynamoDB Local, on two queue servers.

ElasticMQ keeps both cores busy while a client waits for messages of a FIFO queue, so that run is marked `slow`.
"""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from chaski_cli.demo.experiment import EXPECTED, SUBJECT, route_document
from chaski_cli.demo.target import ENDPOINTS
from support.aws.emulators import running_emulators
from support.dead_letters.ledgers import ledger_by_ids, ledger_by_metrics
from support.faults.disrupted_workers import MAKERS
from support.processes.dev import RecordingTarget, recording_target, wait_until
from support.processes.services import Cloud, Service, cluster
from support.worker.experiment import answer, send

pytestmark = pytest.mark.landing


@pytest.mark.timeout(170)
@pytest.mark.promise(4)
@MAKERS
async def test_the_experiment_is_exact_on_sqs_and_dynamodb_protocols(tmp_path: Path, maker: str) -> None:
    """200 messages of one subject through ingest and three workers: every cell of the table, counted by the target."""
    async with running_emulators(maker, tmp_path) as urls, recording_target(answer) as target:
        target.count_arrivals = True
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(route_document(target.url.rstrip("/")))
        jobs = {"consume0": "consume", "consume1": "consume", "retry": "retry"}
        async with cluster(cloud, tmp_path, **jobs) as running, aiohttp.ClientSession() as http:
            await send(http, running.url, target)
            total = sum(row.requests for row in EXPECTED.values())
            await wait_until(lambda: len(target.arrived) >= total, within=150)
            await asyncio.sleep(2)
            await check(target, cloud, running.services, http)
            await check_accounts(cloud, running.services)
            assert [await service.stop() for service in running.services] == [0, 0, 0, 0]


async def check(target: RecordingTarget, cloud: Cloud, services: list[Service], http: aiohttp.ClientSession) -> None:
    """Checks the target's count, the dead letters in DynamoDB, and the metrics of the processes."""
    requests = Counter(seen.path.strip("/") for seen in target.arrived)
    assert requests == {endpoint: EXPECTED[endpoint].requests for endpoint in ENDPOINTS}
    kept = Counter(each.target for each in await cloud.dead_letters())
    assert kept == {endpoint: row.dead_letters for endpoint, row in EXPECTED.items() if row.dead_letters}
    firsts = [seen.label for seen in target.arrived if seen.attempt == 1]
    assert firsts == [f"m{n:03}" for n in range(200)]
    accepted, retried = await metrics(services, http)
    assert accepted == 200
    assert retried == {"400": 200, "500": 250, "timeout": 150}


async def check_accounts(cloud: Cloud, services: list[Service]) -> None:
    """`chaski ledger` by metrics and by ids is exact, because nothing was killed; an unknown id is listed."""
    ends = {"delivered": 50, "deadLettered": 150, "discarded": 0}
    whole = {"schemaVersion": 1, "route": "demo/experiment", "accepted": 200, **ends, "pending": 0}
    assert await ledger_by_metrics(cloud, services) == whole | {"unaccounted": 0}
    ids, logs = [f"m{n:03}" for n in range(200)], [service.log for service in services[1:]]
    by_ids = await ledger_by_ids(cloud, ids, *logs)
    assert by_ids == whole | {"unaccounted": 0, "onQueues": 0, "notFound": []}
    missing = await ledger_by_ids(cloud, [*ids, "lost"], *logs)
    assert (missing["accepted"], missing["unaccounted"], missing["notFound"]) == (201, 1, ["lost"])


async def metrics(services: list[Service], http: aiohttp.ClientSession) -> tuple[int, dict[str, int]]:
    """Messages accepted for the subject, and failed attempts of the error-consumer by target."""
    accepted, retried = 0, Counter[str]()
    for service in services:
        async with http.get(service.ready["chaski.metrics.url"]) as got:
            lines = (await got.text()).splitlines()
        for line in lines:
            value = int(float(line.rpartition(" ")[2])) if line.startswith("chaski_") else 0
            if line.startswith("chaski_messages_accepted_total{") and f'subject_group="{SUBJECT}"' in line:
                accepted += value
            if line.startswith("chaski_attempts_total{") and 'stage="retry"' in line and 'outcome="failed"' in line:
                retried[line.partition('target="')[2].partition('"')[0]] += value
    return accepted, dict(retried)
