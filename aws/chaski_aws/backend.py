"""SQS and DynamoDB as a backend: of one route for ingest and workers, of any route for the console."""

import asyncio
from dataclasses import dataclass

from chaski_aws.dynamodb.records.attempts import DynamoAttemptRecords
from chaski_aws.dynamodb.records.controls import DynamoControlRecords
from chaski_aws.dynamodb.records.leases import DynamoLimitLeases
from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.http.credentials import CredentialChain
from chaski_aws.http.endpoints import DYNAMODB, SQS, SessionFactory, open_session, resolve_endpoints
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
    """The stores in a route's table, and the transport that they share."""

    transport: AwsTransport
    dead_letters: DynamoDeadLetters
    attempt_records: DynamoAttemptRecords
    control_records: DynamoControlRecords
    limit_leases: DynamoLimitLeases


class AwsBackend:
    """Implements `chaski_core.ports.Backend`. Opened by `open_backend`; the caller closes it."""

    def __init__(self, credentials: CredentialChain, sqs: AwsTransport, stores: AwsStores | None) -> None:
        self._credentials = credentials
        self._sqs = sqs
        self._stores = stores
        self._queues: dict[str, SqsQueue] = {}

    @property
    def dead_letters(self) -> DynamoDeadLetters:
        """The dead letter store. `LookupError`: the backend was opened without a table."""
        return self._opened_stores().dead_letters

    @property
    def attempt_records(self) -> DynamoAttemptRecords:
        """Attempt records of Strict routes. `LookupError`: the backend was opened without a table."""
        return self._opened_stores().attempt_records

    @property
    def control_records(self) -> DynamoControlRecords:
        """What people decided about waiting subjects. `LookupError`: the backend was opened without a table."""
        return self._opened_stores().control_records

    @property
    def limit_leases(self) -> DynamoLimitLeases:
        """How workers share the limits of targets. `LookupError`: the backend was opened without a table."""
        return self._opened_stores().limit_leases

    @property
    def journal(self) -> None:
        """None: on AWS attempts are in the logs only."""
        return

    def queue(self, url: str) -> SqsQueue:
        """The queue with a URL; the same object each time. Makes no call."""
        queue = self._queues.get(url)
        if queue is None:
            queue = self._queues[url] = SqsQueue(self._sqs, url)
        return queue

    async def measure_clock(self) -> None:
        """Measures the offset of this machine's clock against SQS, within 2 s; later responses correct it further."""
        await self._sqs.measure_clock()

    async def close(self) -> None:
        """Releases messages of cancelled receives, within seconds; then closes every connection."""
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
    """Resolves the endpoints and opens a backend; makes no request yet.

    Args:
        table: of the route; None for ingest, which needs none.
        clock: for stored times. A `CorrectedClock` is corrected by every response; with another one only signatures and
            the expiry of credentials are corrected.
        on_sqs_request: called with the action and the result of every HTTP request to SQS.
        on_dynamodb_request: called with the action and the result of every HTTP request to DynamoDB.
        open_session: where configuration and credentials come from.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
    """
    services = (SQS,) if table is None else (SQS, DYNAMODB)
    endpoints = await resolve_endpoints(*services, open_session=open_session)
    corrected = _corrected_clock(clock)
    credentials = CredentialChain(open_session, seconds=corrected.seconds)
    stores = None
    if table is not None:
        transport = AwsTransport(endpoints[DYNAMODB], credentials, on_request=on_dynamodb_request, clock=corrected)
        stores = AwsStores(
            transport,
            DynamoDeadLetters(transport, table.name, table.retention_days, clock),
            DynamoAttemptRecords(transport, table.name, clock),
            DynamoControlRecords(transport, table.name, clock),
            DynamoLimitLeases(transport, table.name, clock),
        )
    sqs = AwsTransport(endpoints[SQS], credentials, on_request=on_sqs_request, clock=corrected)
    return AwsBackend(credentials, sqs, stores)


class AwsClients:
    """Queues and dead letters of many routes over one set of connections. Receives no messages; the caller closes it."""

    def __init__(self, credentials: CredentialChain, sqs: AwsTransport, dynamodb: AwsTransport, clock: Clock) -> None:
        self._credentials = credentials
        self._sqs = sqs
        self._dynamodb = dynamodb
        self._clock = clock

    def queue(self, url: str) -> SqsQueue:
        """The queue with a URL; a new object each time. Makes no call."""
        return SqsQueue(self._sqs, url)

    def dead_letters(self, table: RouteTable) -> DynamoDeadLetters:
        """The dead letters in a table. Makes no call."""
        return DynamoDeadLetters(self._dynamodb, table.name, table.retention_days, self._clock)

    async def close(self) -> None:
        """Closes every connection."""
        await self._sqs.close()
        await self._dynamodb.close()
        await self._credentials.close()


async def open_clients(clock: Clock, *, open_session: SessionFactory = open_session) -> AwsClients:
    """Resolves the endpoints; makes no request yet.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
    """
    endpoints = await resolve_endpoints(SQS, DYNAMODB, open_session=open_session)
    corrected = _corrected_clock(clock)
    credentials = CredentialChain(open_session, seconds=corrected.seconds)
    to_sqs, to_dynamodb = (
        AwsTransport(each, credentials, clock=corrected) for each in (endpoints[SQS], endpoints[DYNAMODB])
    )
    return AwsClients(credentials, to_sqs, to_dynamodb, clock)


def _corrected_clock(clock: Clock) -> CorrectedClock:
    """The clock itself if it can be corrected; else a new one, for signatures only."""
    return clock if isinstance(clock, CorrectedClock) else CorrectedClock(SystemClock())
