"""What stored failures cost on DynamoDB, as DynamoDB Local counts write units, those of the indexes included."""

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from chaski_aws.dynamodb.records.attempts import DynamoAttemptRecords
from chaski_aws.dynamodb.table import table_definition
from chaski_aws.http.endpoints import DYNAMODB, Endpoint
from chaski_aws.http.transport import DEFAULT_LIMITS, AwsTransport, CallLimits
from chaski_core.ports import AttemptRecord, HiddenHead
from chaski_core.retry.ladder import ErrorNote, LadderState
from support.aws.adapters import FixedCredentials
from support.clocks import SteppedClock

NOON = 1_800_000_000_000
MESSAGE = "4b5e8a0c-7b52-4b52-8b0b-0d7a1f9b0c11"
# As long as on AWS: a receipt handle of 412 characters, a queue's name of 80.
HEAD = HiddenHead(
    "shop/orders", "customer-17", f"https://sqs.eu-central-1.amazonaws.com/{'1' * 12}/{'q' * 80}", "h" * 412, 9
)
_WORDS = (
    "order",
    "customer",
    "payment",
    "failed",
    "upstream",
    "timeout",
    "request",
    "trace",
    "retry",
    "quota",
    "denied",
)


class Metered(AwsTransport):
    """Adds up write units."""

    units = 0.0

    async def call(self, action: str, fields: Mapping[str, Any], limits: CallLimits = DEFAULT_LIMITS) -> Any:
        """As `AwsTransport.call`."""
        if action in {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}:
            response = await super().call(action, {**fields, "ReturnConsumedCapacity": "INDEXES"}, limits)
            consumed = response["ConsumedCapacity"]
            self.units += sum(
                each["CapacityUnits"] for each in (consumed if isinstance(consumed, list) else [consumed])
            )
            return response
        return await super().call(action, fields, limits)


@pytest.fixture
async def metered(dynamodb_local: str) -> AsyncIterator[Metered]:
    """A table called `units` on DynamoDB Local."""
    transport = Metered(Endpoint(DYNAMODB, dynamodb_local, "us-east-1"), FixedCredentials())
    await transport.call("CreateTable", table_definition("units"))
    yield transport
    await transport.call("DeleteTable", {"TableName": "units"})
    await transport.close()


def an_answer(characters: int, chance: random.Random) -> str:
    """A JSON document as a failing service answers it: words, and ids that can't be compressed."""
    text = '{"error":"'
    while len(text) < characters:
        text += (
            f"{chance.choice(_WORDS)} {chance.randbytes(8).hex()} "
            if chance.random() < 0.3
            else f"{chance.choice(_WORDS)} "
        )
    return text[:characters]


@pytest.mark.parametrize(("characters", "most"), [(1_000, 60), (200, 50), (0, 45)])
async def test_twenty_failures_of_a_head_cost_a_bounded_number_of_units(
    metered: Metered, characters: int, most: float, clock: SteppedClock
) -> None:
    """The whole climb, from the first failure to the delete after the dead letter; the second half costs what the first does."""
    records, chance = DynamoAttemptRecords(metered, "units", clock), random.Random(7)
    notes: tuple[ErrorNote, ...] = ()
    units = []
    for number in range(20):
        notes += (ErrorNote("503", NOON + number, "HTTP 503 Service Unavailable", an_answer(characters, chance)),)
        if number:
            await records.read(MESSAGE)
        before = metered.units
        await records.write(
            MESSAGE, AttemptRecord(LadderState("5xx", number, notes), NOON, receives=number + 1, head=HEAD)
        )
        units.append(metered.units - before)
    assert abs(sum(units[10:]) - sum(units[:10])) <= 10, units
    await records.write(MESSAGE, AttemptRecord(LadderState("5xx", 19, notes), NOON, NOON, 20))
    assert (await records.read(MESSAGE)) == AttemptRecord(LadderState("5xx", 19, notes), NOON, NOON, 20)
    await records.delete(MESSAGE)
    assert 20 <= metered.units <= most
