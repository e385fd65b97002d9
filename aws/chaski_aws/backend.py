"""SQS and DynamoDB as the backend that ingest and workers use."""

import asyncio
from dataclasses import dataclass

from chaski_aws.dynamodb.store import DynamoAttemptRecords, DynamoDeadLetters
from chaski_aws.http.credentials import CredentialChain
from chaski_aws.http.endpoints import DYNAMODB, SQS, SessionFactory, open_session, resolve_endpoint
from chaski_aws.http.transport import AwsTransport, OnRequest, ignore_request
from chaski_aws.sqs.queue import SqsQueue
from chaski_core.ports import Clock
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The DynamoDB table of a route."""

    name: str
    retention_days: int  # of the route's dead letters


@dataclass(frozen=True, slots=True)
class AwsStores:
    """What lies in a route's table."""

    transport: AwsTransport
    dead_letters: DynamoDeadLetters
    attempt_records: DynamoAttemptRecords


class AwsBackend:
    """Implements `chaski_core.ports.Backend`. Made by `open_backend`, closed by whoever opened it."""

    def __init__(self, credentials: CredentialChain, sqs: AwsTransport, stores: AwsStores | None) -> None:
        self._credentials = credentials
        self._sqs = sqs
        self._stores = stores
        self._queues: dict[str, SqsQueue] = {}

    @property
    def dead_letters(self) -> DynamoDeadLetters:
        """The store of failures. `LookupError`: the backend was opened without a table."""
        return self._opened_stores().dead_letters

    @property
    def attempt_records(self) -> DynamoAttemptRecords:
        """How far the head of a subject has climbed, in Strict. `LookupError` as for `dead_letters`."""
        return self._opened_stores().attempt_records

    @property
    def journal(self) -> None:
        """On AWS attempts are found in the logs."""
        return

    def queue(self, url: str) -> SqsQueue:
        """The queue of that URL, the same object each time. Makes no call."""
        queue = self._queues.get(url)
        if queue is None:
            queue = self._queues[url] = SqsQueue(self._sqs, url)
        return queue

    async def measure_clock(self) -> None:
        """Asks SQS what time it is, within 2 s; where it does not say, later answers will."""
        await self._sqs.measure_clock()

    async def close(self) -> None:
        """Gives back what receives took whose callers left, within seconds; then closes every connection."""
        await asyncio.gather(*(queue.close() for queue in self._queues.values()))
        await self._sqs.close()
        if self._stores is not None:
            await self._stores.transport.close()
        await self._credentials.close()

    def _opened_stores(self) -> AwsStores:
        if self._stores is None:
            raise LookupError("this process was started without a table")
        return self._stores


async def open_backend(
    table: RouteTable | None,
    clock: Clock,
    *,
    on_sqs_request: OnRequest = ignore_request,
    on_dynamodb_request: OnRequest = ignore_request,
    open_session: SessionFactory = open_session,
) -> AwsBackend:
    """Finds the endpoints and makes a backend; makes no request yet. An ingest needs no table.

    Args:
        table: of the route.
        clock: of stored times. A `CorrectedClock` learns from every answer; with another one only signatures and the
            end of credentials are corrected.
        on_sqs_request: called with the action and the result of every HTTP request to SQS.
        on_dynamodb_request: the same, to DynamoDB.
        open_session: where configuration and credentials come from.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
    """
    sqs_endpoint = await resolve_endpoint(SQS, open_session)
    corrected = corrected_clock(clock)
    credentials = CredentialChain(open_session, seconds=corrected.seconds)
    stores = None
    if table is not None:
        endpoint = await resolve_endpoint(DYNAMODB, open_session)
        transport = AwsTransport(endpoint, credentials, on_request=on_dynamodb_request, clock=corrected)
        stores = AwsStores(
            transport,
            DynamoDeadLetters(transport, table.name, table.retention_days, clock),
            DynamoAttemptRecords(transport, table.name, clock),
        )
    sqs = AwsTransport(sqs_endpoint, credentials, on_request=on_sqs_request, clock=corrected)
    return AwsBackend(credentials, sqs, stores)


def corrected_clock(clock: Clock) -> CorrectedClock:
    """The clock itself where AWS's answers may correct it; else one beside it, for signatures."""
    return clock if isinstance(clock, CorrectedClock) else CorrectedClock(SystemClock())
