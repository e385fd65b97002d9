"""The experiment, read from a real Prometheus by the documented queries. About 80 seconds."""

import asyncio
import contextlib
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from chaski_cli.demo import experiment
from chaski_console.data.prometheus import PrometheusRates
from chaski_core.ports import QueueCounts
from chaski_operator.metrics import OperatorMetrics
from chaski_runtime.observability.metrics.queue_gauges import QueueReading
from chaski_runtime.observability.metrics.registry import BackendMetrics, MetricsRegistry
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from support.processes.dev import DevServer, dev_server, queued_total, route, send_batch, settled_total
from support.processes.prometheus import Prometheus, documented_queries, prometheus
from support.tools import need

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300), pytest.mark.landing]

CHART = Path(__file__).parents[2] / "charts" / "chaski" / "files"
ALERTS = CHART / "alerts.yaml"
QUERIES = documented_queries(Path(__file__).parents[2] / "docs" / "metrics.md")
LOG_COMMANDS = documented_queries(Path(__file__).parents[2] / "docs" / "logs.md")
CROWD = 100_000
MAX_VALUES = 200
BATCH = 5_000


@contextlib.asynccontextmanager
async def experiment_target() -> AsyncIterator[str]:
    """Runs the demo's target; yields its base URL."""
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


@contextlib.asynccontextmanager
async def operator_and_aws() -> AsyncIterator[list[str]]:
    """Serves metrics that `chaski dev` does not have: the operator's, and those of AWS calls; yields their URLs.

    They are the real metrics of these processes with invented values.
    """
    operator, aws = OperatorMetrics(), MetricsRegistry()
    backend = BackendMetrics(aws)
    operator.reconciled(namespace="demo", route="experiment", result="ok", duration_seconds=0.1)
    operator.scaled(namespace="demo", route="experiment", queue="messages", direction="up")
    operator.observe_conditions(lambda: {("demo", "experiment", "Ready"): True})
    operator.observe_replicas(lambda: {("demo", "experiment", "messages", "ready"): 1})
    operator.observe_watch(lambda: 5.0)
    operator.observe_queue(lambda: [QueueReading("demo", "experiment", "messages", QueueCounts(0, 0, 0), 0.0)])
    backend.sqs_request("SendMessageBatch", "ok")
    backend.sqs_request("SendMessageBatch", "throttled")
    backend.dynamodb_request("PutItem", "ok")
    async with contextlib.AsyncExitStack() as stack:
        pages = []
        for metrics in (operator, aws):
            side = await health.start("127.0.0.1", 0, metrics=metrics, live=lambda: None, ready=lambda: None)
            stack.push_async_callback(side.close)
            pages.append(f"http://127.0.0.1:{side.port}/metrics")
        yield pages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[DevServer, Prometheus]]:
    """`chaski dev` after the experiment, with another route for a crowd, and the Prometheus that scrapes it."""
    folder = tmp_path_factory.mktemp("prometheus")
    crowd = {"subjectGroup": {"pattern": "^(.*)$", "maxValues": MAX_VALUES}, "suspend": {"delivery": True}}
    async with (
        experiment_target() as target,
        operator_and_aws() as others,
        dev_server(folder, experiment.route_document(target), route("crowd", target, **crowd)) as dev,
        prometheus(folder, [dev.metrics_url, *others], ALERTS) as server,
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
    """Every cell of the table, by the documented queries."""
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


DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
async def test_every_query_of_a_dashboard_returns_data(served: tuple[DevServer, Prometheus], file: Path) -> None:
    """Each panel, with each variable set to All and to one of its values."""
    _, server = served
    dashboard = orjson.loads(await asyncio.to_thread(file.read_bytes))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 10
    for values in (
        {"namespace": ".+", "route": ".+", "target": ".+"},
        {"namespace": "demo", "route": "experiment", "target": "400"},
    ):
        empty = [
            (panel["title"], expression)
            for panel in panels
            for each in panel["targets"]
            if not await server.query(expression := filled_in(each["expr"], values))
        ]
        assert empty == []


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
async def test_the_variables_of_a_dashboard_have_values(served: tuple[DevServer, Prometheus], file: Path) -> None:
    """As Grafana queries them: the values of a label among the matching series."""
    _, server = served
    for variable in orjson.loads(await asyncio.to_thread(file.read_bytes))["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert found is not None
            selector = filled_in(found[1], {"namespace": ".+", "route": ".+"})
            assert await server.get(f"label/{found[2]}/values", **{"match[]": selector})


async def test_the_log_gives_the_same_answers(served: tuple[DevServer, Prometheus]) -> None:
    """The documented commands give the same numbers without Prometheus."""
    dev, server = served

    async def answer(question: str) -> Any:
        command = LOG_COMMANDS[question].replace("LOG", str(dev.log))
        process = await asyncio.create_subprocess_shell(command, stdout=PIPE, executable="/bin/bash")
        out, _ = await process.communicate()
        assert process.returncode == 0, command
        return orjson.loads(out)

    need("jq")
    by_target = {
        "requests by target": {"200": 50, "400": 250, "500": 300, "timeout": 200},
        "failed attempts in the error-consumer by target": {"400": 200, "500": 250, "timeout": 150},
    }
    for question, counts in by_target.items():
        assert await answer(question) == counts == await server.by("target", QUERIES[question])
    assert await answer("errors by kind") == {"400": 250, "500": 300, "timeout": 200}
    assert await answer("dead letters by subject") == {"test_subject": 150}
    assert (await answer("mean duration of a target's attempts, in milliseconds"))["timeout"] >= 1000


async def test_one_message_is_found_in_the_log(served: tuple[DevServer, Prometheus]) -> None:
    """By its id and by its subject."""
    dev, _ = served
    need("jq")
    command = LOG_COMMANDS["one subject"].replace("LOG", str(dev.log)).replace("SUBJECT", experiment.SUBJECT)
    process = await asyncio.create_subprocess_shell(command, stdout=PIPE)
    lines = [orjson.loads(line) for line in (await process.communicate())[0].splitlines()]
    assert len(lines) == 800
    message_id = next(line["chaski.message.id"] for line in lines if line["labels.target"] == "500")
    command = LOG_COMMANDS["one message, attempt by attempt"].replace("LOG", str(dev.log)).replace("ID", message_id)
    process = await asyncio.create_subprocess_shell(command, stdout=PIPE)
    attempts = [orjson.loads(line) for line in (await process.communicate())[0].splitlines()]
    assert [line["chaski.attempt.number"] for line in attempts] == [1, 2, 3, 4, 5, 6]


async def test_prometheus_accepts_the_rules_and_no_expression_fails(served: tuple[DevServer, Prometheus]) -> None:
    """Evaluated on the running system: every rule is healthy, and the failing endpoints raise their alert."""
    _, server = served
    async with asyncio.timeout(60):
        while True:
            groups = (await server.get("rules"))["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            if all(rule["health"] != "unknown" for rule in rules):
                break
            await asyncio.sleep(0.5)
    assert len(rules) > 20
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert "ChaskiDeadLetters" in {rule["name"] for rule in rules if rule["alerts"]}


def filled_in(expression: str, values: Mapping[str, str]) -> str:
    """An expression with its variables filled in as by Grafana."""
    for name, value in values.items():
        expression = expression.replace(f"${name}", value)
    return expression.replace("$__rate_interval", "5m")


async def test_the_console_has_its_rates_from_prometheus(served: tuple[DevServer, Prometheus]) -> None:
    """The console reads rates from Prometheus; if it is unavailable, they are unknown."""
    _, server = served
    asked = PrometheusRates(server.url, SystemClock(), "10m")
    rates, ages = (await asked.rates())["demo/experiment"], (await asked.ages())["demo/experiment"]
    assert rates.attempts > rates.failed > rates.dead_letters > 0
    assert set(ages) == {"messages", "rung-fast", "rung-medium", "rung-slow"}
    assert rates.delivered > 0
    assert await PrometheusRates("http://127.0.0.1:9", SystemClock()).rates() == {}


@pytest.mark.promise(13)
async def test_no_message_is_unaccounted_for(served: tuple[DevServer, Prometheus]) -> None:
    """Every accepted message was delivered, is a dead letter, or is pending."""
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
