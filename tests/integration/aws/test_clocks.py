"""A machine with a wrong clock and services that refuse signatures more than 15 minutes off."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, DeferredRefreshableCredentials
from botocore.session import Session

from chaski_aws.http.credentials import RETRY_SECONDS, CredentialChain
from chaski_aws.http.endpoints import SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_aws.provision.clients import BotoAws
from chaski_aws.provision.errors import ProvisionError
from chaski_core.errors import BackendUnavailableError
from chaski_runtime.process.corrected_clock import CorrectedClock
from integration.aws.conftest import FaultySqs
from support.aws.adapters import FixedCredentials
from support.clocks import SteppedClock
from support.faults.proxy import Exchange, keeping_time, refuse

DAY = 86_400
OFF = [-7_200, 1_000, 20 * DAY, 400 * DAY]
FIELDS = {"QueueName": "q.fifo"}


@pytest.fixture
def machine() -> SteppedClock:
    """The clock of this machine."""
    return SteppedClock()


@pytest.fixture
async def transport(faulty_sqs: FaultySqs, machine: SteppedClock) -> AsyncIterator[AwsTransport]:
    """Calls through a proxy that checks the time of signatures."""
    faulty_sqs.proxy.set_lasting(keeping_time())
    endpoint = Endpoint(SQS, faulty_sqs.proxy.url, "us-east-1")
    opened = AwsTransport(endpoint, FixedCredentials(), chance=lambda: 0.0, clock=CorrectedClock(machine))
    yield opened
    await opened.close()


@pytest.mark.promise(10)
@pytest.mark.parametrize("off", OFF)
async def test_concurrent_calls_are_all_repeated_with_the_right_time(
    transport: AwsTransport, machine: SteppedClock, off: int
) -> None:
    """The first refusal must not make the others fail."""
    machine.set_wall(off)
    answers = await asyncio.gather(*(transport.call("GetQueueUrl", FIELDS) for _ in range(20)))
    assert all("QueueUrl" in answer for answer in answers)


@pytest.mark.promise(10)
@pytest.mark.parametrize("off", OFF)
async def test_jump_between_two_calls_is_detected_before_the_second(
    transport: AwsTransport, faulty_sqs: FaultySqs, machine: SteppedClock, off: int
) -> None:
    """By the monotonic clock, so that no call is refused."""
    await transport.call("GetQueueUrl", FIELDS)
    machine.set_wall(off)
    await transport.call("GetQueueUrl", FIELDS)
    assert faulty_sqs.proxy.seen == ["GetQueueUrl"] * 2


class Sts:
    """Issues credentials for an hour of the right time, as STS does; botocore expires them by its own clock."""

    def __init__(self, ahead: float) -> None:
        self._ends = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ahead) + dt.timedelta(hours=1)

    def open_session(self) -> Any:
        """A session with these credentials."""
        return self

    def get_credentials(self) -> DeferredRefreshableCredentials:
        """As created by botocore's provider of web identities."""
        issued = {"access_key": "AK", "secret_key": "s", "token": "t", "expiry_time": self._ends.isoformat()}
        return DeferredRefreshableCredentials(lambda: issued, "test")


@pytest.mark.promise(10)
async def test_credentials_end_by_the_clock_that_is_given() -> None:
    """By a clock that is 20 days ahead, new credentials have expired long ago, and botocore would not return them."""
    ahead = 20 * DAY
    wrong = CredentialChain(Sts(ahead).open_session)
    with pytest.raises(BackendUnavailableError, match="still expired"):
        await wrong.current()
    right = CredentialChain(Sts(ahead).open_session, seconds=lambda: time.time() - ahead)
    assert (await right.current()).access_key == "AK"
    late = CredentialChain(Sts(ahead).open_session, seconds=lambda: time.time() - ahead + 3_601)
    with pytest.raises(BackendUnavailableError, match="still expired"):
        await late.current()
    await asyncio.gather(wrong.close(), right.close(), late.close())


@pytest.mark.promise(10)
async def test_credentials_that_seem_expired_cause_a_measurement_of_the_clock(faulty_sqs: FaultySqs) -> None:
    """By an unsigned request: every response of AWS has a Date, refusals too."""
    ahead = 20 * DAY
    machine, now = SteppedClock(), [0.0]
    machine.set_wall(ahead)
    clock = CorrectedClock(machine)
    chain = CredentialChain(Sts(0).open_session, lambda: now[0], seconds=clock.seconds)
    endpoint = Endpoint(SQS, faulty_sqs.proxy.url, "us-east-1")
    transport = AwsTransport(endpoint, chain, chance=lambda: 0.0, clock=clock)
    faulty_sqs.proxy.set_lasting(keeping_time())
    with pytest.raises(BackendUnavailableError, match="still expired"):
        await transport.call("GetQueueUrl", FIELDS)
    now[0] += RETRY_SECONDS
    assert "QueueUrl" in await transport.call("GetQueueUrl", FIELDS)
    await transport.close()
    await chain.close()


async def test_a_service_without_a_date_delays_no_process(machine: SteppedClock) -> None:
    """The machine's time is used until a response has a Date."""
    clock = CorrectedClock(machine)
    transport = AwsTransport(Endpoint(SQS, "http://127.0.0.1:9", "us-east-1"), FixedCredentials(), clock=clock)
    await transport.measure_clock()
    assert clock.offset_seconds() is None
    await transport.close()


# ---- boto3, which creates queues and tables

SECRET = Credentials("AKIAANY", "any-secret")


async def verified(exchange: Exchange) -> None:
    """Verifies the signature as AWS does, over the signed headers, then checks its time."""
    authorization = exchange.headers["authorization"]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", "x-amz-target"} <= set(names)
    headers = {name: exchange.headers[name] for name in names}
    request = AWSRequest("POST", f"http://{headers.pop('host')}/", headers, exchange.body)
    request.context["timestamp"] = exchange.headers["x-amz-date"]
    auth = SigV4Auth(SECRET, "sqs", "us-east-1")
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert authorization.endswith(f"Signature={signature}")
    await keeping_time()(exchange)


def boto(url: str, machine: SteppedClock) -> BotoAws:
    """Clients without retries."""

    def open_session() -> Session:
        session = Session()
        session.set_config_variable("region", "us-east-1")
        session.set_credentials(SECRET.access_key, SECRET.secret_key)
        return session

    return BotoAws(open_session, {"sqs": url, "dynamodb": url}, CorrectedClock(machine))


@pytest.mark.promise(10)
async def test_boto3_signs_by_the_right_time_once_it_was_refused(
    faulty_sqs: FaultySqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore uses this machine's time only, so its signature is replaced."""
    behind = 7_200
    now = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=behind)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    machine = SteppedClock()
    machine.set_wall(-behind)
    faulty_sqs.proxy.set_lasting(verified)
    aws = await asyncio.to_thread(boto, faulty_sqs.proxy.url, machine)
    for _ in range(2):
        answer = await asyncio.to_thread(aws.call, "sqs", "GetQueueUrl", FIELDS)
        assert answer["QueueUrl"]
    assert faulty_sqs.proxy.seen == ["GetQueueUrl"] * 3  # refused, repeated, and right at once


async def test_boto3_with_a_wrong_key_is_refused_once(faulty_sqs: FaultySqs, machine: SteppedClock) -> None:
    """The clocks agree, so another signature would be refused too."""
    faulty_sqs.proxy.set_lasting(refuse(403, "SignatureDoesNotMatch", date=time.time()))
    aws = await asyncio.to_thread(boto, faulty_sqs.proxy.url, machine)
    with pytest.raises(ProvisionError, match="SignatureDoesNotMatch"):
        await asyncio.to_thread(aws.call, "sqs", "GetQueueUrl", FIELDS)
    assert len(faulty_sqs.proxy.seen) == 1
