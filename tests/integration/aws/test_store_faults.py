"""For every fault of a DynamoDB call, the store keeps each item once, and the next call works."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chaski_aws.dynamodb.records.attempts import DynamoAttemptRecords
from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.dynamodb.table import table_definition
from chaski_aws.http.endpoints import DYNAMODB, Endpoint
from chaski_aws.http.transport import DEFAULT_LIMITS, AwsTransport, CallLimits
from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterFilter, ReplayClaim
from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import AttemptRecord
from chaski_core.retry.ladder import ErrorNote, LadderState
from support.aws.adapters import FixedCredentials
from support.aws.dynamodb_local import DynamoDbLocal
from support.clocks import SteppedClock
from support.dead_letters.builder import a_dead_letter
from support.faults.proxy import (
    Exchange,
    Fault,
    FaultProxy,
    cut,
    cut_after_effect,
    cut_in_answer,
    delay,
    nonsense,
    refuse,
    swallow,
    swallow_answer,
)

pytestmark = pytest.mark.landing

RESPONSE_SECONDS = 2.0  # of one try: above the time of DynamoDB Local on a busy machine
NOON = 1_800_000_000_000  # epoch milliseconds
RECORD = AttemptRecord(LadderState("5xx", 0, (ErrorNote("500", 5, "HTTP 500", ""),)), due_at=7, receives=2)
PASSING: dict[str, tuple[Fault, str]] = {
    "cut": (cut, "connection"),
    "cut after its effect": (cut_after_effect, "connection"),
    "cut in the answer": (cut_in_answer, "connection"),
    "swallowed": (swallow, "timeout"),
    "answer swallowed": (swallow_answer, "timeout"),
    "late": (delay(2 * RESPONSE_SECONDS), "timeout"),
    "500": (refuse(500, "com.amazonaws.dynamodb.v20120810#InternalServerError"), "server_error"),
    "503 without a body": (refuse(503), "server_error"),
    "table throttled": (
        refuse(400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"),
        "throttled",
    ),
    "account throttled": (refuse(400, "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded"), "throttled"),
    "throttled": (refuse(400, "com.amazon.coral.availability#ThrottlingException"), "throttled"),
    "not the service": (nonsense, "server_error"),
}
_tables = itertools.count()


@pytest.fixture(scope="module")
def dynamodb_local() -> Iterator[str]:
    """URL of a running DynamoDB Local."""
    server = DynamoDbLocal()
    yield server.url
    server.stop()


class Brief(AwsTransport):
    """Calls with a short timeout for each try."""

    async def call(self, action: str, fields: Mapping[str, Any], limits: CallLimits = DEFAULT_LIMITS) -> Any:
        """As `AwsTransport.call`, with the limit on bytes only."""
        return await super().call(action, fields, CallLimits(RESPONSE_SECONDS, limits.response_bytes))


@dataclass
class Store:
    """A table behind a proxy, and the same table without it."""

    proxy: FaultProxy
    letters: DynamoDeadLetters
    records: DynamoAttemptRecords
    letters_behind: DynamoDeadLetters
    records_behind: DynamoAttemptRecords
    requests: list[tuple[str, str]] = field(default_factory=list)  # action and result of every HTTP request


@asynccontextmanager
async def faulty_store(url: str) -> AsyncIterator[Store]:
    """A store on its own table, without delays between tries."""
    proxy, clock, table = FaultProxy(url), SteppedClock(), f"faults{next(_tables)}"
    requests: list[tuple[str, str]] = []
    async with AsyncExitStack() as stack:
        await proxy.start()
        stack.push_async_callback(proxy.close)
        through = Brief(
            Endpoint(DYNAMODB, proxy.url, "us-east-1"),
            FixedCredentials(),
            on_request=lambda action, result: requests.append((action, result)),
            chance=lambda: 0.0,
        )
        stack.push_async_callback(through.close)
        behind = AwsTransport(Endpoint(DYNAMODB, url, "us-east-1"), FixedCredentials())
        stack.push_async_callback(behind.close)
        await behind.call("CreateTable", table_definition(table))
        yield Store(
            proxy,
            DynamoDeadLetters(through, table, 30, clock),
            DynamoAttemptRecords(through, table, clock),
            DynamoDeadLetters(behind, table, 30, clock),
            DynamoAttemptRecords(behind, table, clock),
            requests,
        )


def letter(message_id: str) -> DeadLetter:
    """A dead letter of a message that is too large for one item, so that it has parts."""
    return a_dead_letter(
        message_id,
        route="n/r",
        dead_lettered_at=NOON,
        error_class="500",
        attempts=2,
        errors=RECORD.state.errors,
        envelope={"subject": "s", "body": {"url": "http://t.example/", "content": "x" * 50}},
    )


async def kept(letters: DynamoDeadLetters) -> list[DeadLetter]:
    """All dead letters."""
    return [each async for each in letters.find(DeadLetterFilter())]


async def puts(store: Store) -> None:
    """A put stores the dead letter once."""
    await store.letters.put(letter("m"))
    assert await kept(store.letters_behind) == [letter("m")]


async def claims(store: Store) -> None:
    """A dead letter is claimed."""
    await store.letters_behind.put(letter("m"))
    assert list(await store.letters.claim([(letter("m").key, None)], ReplayClaim("run", NOON))) == [Claimed.YES]


async def reads(store: Store) -> None:
    """A record is read unchanged."""
    await store.records_behind.write("m", RECORD)
    assert await store.records.read("m") == RECORD


async def writes(store: Store) -> None:
    """A record is written."""
    await store.records.write("m", RECORD)
    assert await store.records_behind.read("m") == RECORD


async def drops(store: Store) -> None:
    """A record is deleted."""
    await store.records_behind.write("m", RECORD)
    await store.records.delete("m")
    assert await store.records_behind.read("m") is None


async def finds(store: Store) -> None:
    """A search finds all."""
    for number in range(3):
        await store.letters_behind.put(letter(f"m{number}"))
    assert await kept(store.letters) == [letter(f"m{number}") for number in range(3)]


async def gets(store: Store) -> None:
    """A dead letter is read by its message's id."""
    await store.letters_behind.put(letter("m"))
    assert list(await store.letters.get("m")) == [letter("m")]


Act = Callable[[Store], Awaitable[None]]
ACTS: dict[str, tuple[str, Act]] = {
    "hour of a dead letter": ("PutItem", puts),
    "dead letter": ("TransactWriteItems", puts),
    "claim": ("UpdateItem", claims),
    "read": ("GetItem", reads),
    "write": ("PutItem", writes),
    "drop": ("DeleteItem", drops),
    "find": ("Query", finds),
    "get": ("BatchGetItem", gets),
}


@pytest.mark.promise(10)
@pytest.mark.parametrize("fault", PASSING)
async def test_one_fault_changes_no_result(dynamodb_local: str, fault: str) -> None:
    """At every call of the store: it is retried, it takes effect once, and both tries are counted."""
    harm, result = PASSING[fault]

    async def one(action: str, act: Act) -> None:
        async with faulty_store(dynamodb_local) as store:
            store.proxy.plan(action, harm)
            await act(store)
            assert [outcome for name, outcome in store.requests if name == action][:2] == [result, "ok"]
            assert sum(outcome != "ok" for _, outcome in store.requests) == 1

    async with asyncio.TaskGroup() as side_by_side:
        for action, act in ACTS.values():
            side_by_side.create_task(one(action, act))


@pytest.mark.promise(10)
@pytest.mark.parametrize("fault", ["cut", "swallowed", "503 without a body", "table throttled"])
async def test_lasting_fault_is_an_error_until_its_cause_ends(dynamodb_local: str, fault: str) -> None:
    """At every call: after three tries it fails with BackendUnavailableError; once the fault ends, the next call works."""
    harm, result = PASSING[fault]

    async def one(action: str, act: Act) -> None:
        async with faulty_store(dynamodb_local) as store:
            store.proxy.set_lasting(harm, action)
            with pytest.raises(BackendUnavailableError):
                await act(store)
            assert [outcome for name, outcome in store.requests if name == action] == [result] * 3
            store.proxy.heal()
            await store.records.write("m", RECORD)
            assert await store.records_behind.read("m") == RECORD

    async with asyncio.TaskGroup() as side_by_side:
        for action, act in ACTS.values():
            side_by_side.create_task(one(action, act))


@pytest.mark.parametrize(
    ("code", "temporary"),
    [("ResourceNotFoundException", False), ("AccessDeniedException", False), ("ExpiredTokenException", True)],
)
async def test_refusals_are_permanent_or_temporary(dynamodb_local: str, code: str, temporary: bool) -> None:
    """A missing table is permanent; expired credentials are an outage."""
    async with faulty_store(dynamodb_local) as store:
        store.proxy.set_lasting(refuse(400, f"com.amazonaws.dynamodb.v20120810#{code}"))
        with pytest.raises(BackendUnavailableError if temporary else BackendRejectedError, match=code):
            await store.letters.put(letter("m"))


@pytest.mark.promise(2)
async def test_put_whose_response_is_always_lost_is_stored_once(dynamodb_local: str) -> None:
    """The call fails and is repeated later: the first dead letter is stored, with its time, and no second one."""
    async with faulty_store(dynamodb_local) as store:
        store.proxy.set_lasting(cut_after_effect, "TransactWriteItems")
        for later in range(3):
            with pytest.raises(BackendUnavailableError):
                await store.letters.put(replace(letter("m"), dead_lettered_at=NOON + later))
        store.proxy.heal()
        await store.letters.put(replace(letter("m"), dead_lettered_at=NOON + 9))
        assert await kept(store.letters_behind) == [letter("m")]


async def test_unprocessed_keys_are_requested_again(dynamodb_local: str) -> None:
    """BatchGetItem returns 200 and omits keys when it is throttled."""
    asked: list[int] = []

    async def leave_out(exchange: Exchange) -> None:
        wanted = json.loads(exchange.body)["RequestItems"]
        asked.append(sum(len(each["Keys"]) for each in wanted.values()))
        await exchange.answer(200, {}, json.dumps({"Responses": {}, "UnprocessedKeys": wanted}).encode())

    async with faulty_store(dynamodb_local) as store:
        for number in range(3):
            await store.letters_behind.put(letter(f"m{number}"))
        store.proxy.plan("BatchGetItem", leave_out, leave_out)
        found = [each.id async for each in store.letters.find(DeadLetterFilter(subject="s"))]
        assert found == ["m0", "m1", "m2"]
        assert asked == [3, 3]
