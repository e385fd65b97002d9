"""The backend that processes open: configured by the environment, without requests before they are needed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaski_aws.backend import AwsBackend, RouteTable, open_backend
from chaski_core.errors import BackendRejectedError
from integration.aws.conftest import FaultySqs
from support.clocks import SteppedClock
from support.faults.proxy import swallow_answer


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Keys and a region; no files of the machine."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return monkeypatch


@pytest.fixture
async def backend(faulty_sqs: FaultySqs, environment: pytest.MonkeyPatch) -> AsyncIterator[AwsBackend]:
    """A backend whose SQS is behind the proxy."""
    environment.setenv("AWS_ENDPOINT_URL_SQS", faulty_sqs.proxy.url)
    opened = await open_backend(
        None, SteppedClock(), on_sqs_request=lambda action, result: faulty_sqs.requests.append((action, result))
    )
    yield opened
    await opened.close()


async def test_queue_of_a_url_is_one_object(faulty_sqs: FaultySqs, backend: AwsBackend) -> None:
    """So that its pending releases are known when the process ends; its calls are counted."""
    queue = backend.queue(faulty_sqs.queue.url)
    assert backend.queue(faulty_sqs.queue.url) is queue
    assert backend.queue(faulty_sqs.queue.url + "x") is not queue
    assert (await queue.counts()).total == 0
    assert faulty_sqs.requests == [("GetQueueAttributes", "ok")]


@pytest.mark.promise(11)
async def test_closing_releases_messages_of_cancelled_receives(faulty_sqs: FaultySqs, backend: AwsBackend) -> None:
    """Before the connections are closed."""
    await faulty_sqs.fill("a1")
    faulty_sqs.proxy.plan("ReceiveMessage", swallow_answer)
    queue = backend.queue(faulty_sqs.queue.url)
    receiving = asyncio.create_task(
        queue.receive(max_messages=10, wait_seconds=20, visibility_seconds=30, attempt_id="a")
    )
    async with asyncio.timeout(5):
        while (await faulty_sqs.behind.counts()).in_flight == 0:
            await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await backend.close()
    assert await faulty_sqs.rest() == ["a1"]


async def test_backend_without_a_table_has_no_stores(backend: AwsBackend) -> None:
    """Ingest stores no dead letters, and needs no permission for a table."""
    assert backend.journal is None
    with pytest.raises(LookupError):
        _ = backend.dead_letters
    with pytest.raises(LookupError):
        _ = backend.attempt_records


async def test_backend_with_a_table_has_its_stores() -> None:
    """The same objects each time, without requests before their use."""
    backend = await open_backend(RouteTable("chaski-helpdesk", 30), SteppedClock())
    assert backend.dead_letters is backend.dead_letters
    assert backend.attempt_records is backend.attempt_records
    await backend.close()


async def test_missing_region_is_an_error_at_once(environment: pytest.MonkeyPatch) -> None:
    """It is a setting, not an outage."""
    environment.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(BackendRejectedError, match="You must specify a region"):
        await open_backend(None, SteppedClock())


async def test_one_call_returns_settings_and_counts(faulty_sqs: FaultySqs, backend: AwsBackend) -> None:
    """As the autoscaler reads a queue."""
    await faulty_sqs.fill("a1")
    attributes = await backend.queue(faulty_sqs.queue.url).attributes()
    assert (attributes["ApproximateNumberOfMessages"], attributes["FifoQueue"]) == ("1", "true")
    assert faulty_sqs.requests == [("GetQueueAttributes", "ok")]
