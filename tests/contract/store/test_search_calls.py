"""How many calls a search of dead letters makes on DynamoDB, also in a table that the release before has filled."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.items import dead_letter_items
from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.dynamodb.table import TTL_ATTRIBUTE, table_definition
from chaski_aws.http.endpoints import DYNAMODB, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from support.aws.adapters import FixedCredentials
from support.clocks import SteppedClock
from support.dead_letters.builder import a_dead_letter

RETENTION_DAYS = 30
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_TEN_YEARS_SECONDS = 3_651 * 86_400


@dataclass
class Searched:
    """A table, and the calls made to it since it was filled."""

    transport: AwsTransport
    store: DynamoDeadLetters
    now: int  # epoch milliseconds
    calls: Counter[str] = field(default_factory=Counter)

    async def write(self, items: list[dict[str, Any]]) -> None:
        """Writes items, which have different keys."""
        for at in range(0, len(items), 25):
            requests = [{"PutRequest": {"Item": item}} for item in items[at : at + 25]]
            await self.transport.call("BatchWriteItem", {"RequestItems": {"searched": requests}})

    async def age(self) -> None:
        """The hours of 180 days as the release before recorded them. Their dead letters have expired."""
        hours = [self.now - ago * HOUR_MS for ago in range(1, 180 * 24)]
        await self.write([old_hour(f"{keys.hour_of(hour)}#{hour // HOUR_MS % 8}", hour) for hour in hours])

    async def find(self, most: int, **wanted: Any) -> list[str]:
        """The ids of the first dead letters found, newest first; counts the calls."""
        self.calls.clear()
        found: list[str] = []
        search = self.store.find(DeadLetterFilter(**wanted), newest_first=True)
        async for each in search:
            found.append(each.id)
            if len(found) == most:
                break
        await search.aclose()  # type: ignore[attr-defined]
        return found


@pytest.fixture
async def searched(dynamodb_local: str, clock: SteppedClock) -> AsyncIterator[Searched]:
    """An empty table on DynamoDB Local."""
    calls: Counter[str] = Counter()
    endpoint = Endpoint(DYNAMODB, dynamodb_local, "us-east-1")
    transport = AwsTransport(endpoint, FixedCredentials(), on_request=lambda action, _: calls.update([action]))
    await transport.call("CreateTable", table_definition("searched"))
    store = DynamoDeadLetters(transport, "searched", RETENTION_DAYS, clock)
    yield Searched(transport, store, clock.now_ms(), calls)
    await transport.call("DeleteTable", {"TableName": "searched"})
    await transport.close()


def old_hour(pk: str, at: int) -> dict[str, Any]:
    """The record of an hour as the release before wrote it."""
    expires_at = {"N": str(at // 1000 + _TEN_YEARS_SECONDS)}
    return {"pk": {"S": keys.HOURS_PK}, "sk": {"S": pk}, TTL_ATTRIBUTE: expires_at}


def old_items(letter: DeadLetter) -> list[dict[str, Any]]:
    """A dead letter as the release before wrote it."""
    items = dead_letter_items(letter, RETENTION_DAYS)
    pk = items.dead_letter["pk"]["S"]
    by_hour = {"targetKey": {"S": keys.target_hour_pk(letter.target, pk)}}
    return [old_hour(pk, letter.dead_lettered_at), items.dead_letter | by_hour]


async def test_a_list_in_an_old_table_makes_few_calls(searched: Searched) -> None:
    """After 180 days of failures, of which 25 dead letters of the last day are left; one that finds fewer walks no further."""
    await searched.age()
    for number in range(25):
        at = searched.now - number * HOUR_MS // 2
        await searched.store.put(a_dead_letter(f"m{number}", subject=f"s{number}", dead_lettered_at=at))
    assert await searched.find(20) == [f"m{number}" for number in range(20)]
    assert searched.calls["Query"] <= 200
    assert len(await searched.find(30)) == 25
    assert searched.calls["Query"] <= (RETENTION_DAYS + 15) * 24 + 50  # in the worst case, not 4,320


async def test_hours_of_this_release_expire_with_their_dead_letters(searched: Searched) -> None:
    """So that no search reads an hour whose dead letters have all expired."""
    for day in range(180):
        at = searched.now - day * DAY_MS
        letter = a_dead_letter(f"m{day}", subject="s", dead_lettered_at=at)
        items = dead_letter_items(letter, RETENTION_DAYS)
        await searched.write([items.hour, items.dead_letter])
    assert await searched.find(200) == [f"m{day}" for day in range(RETENTION_DAYS)]
    assert searched.calls["Query"] <= RETENTION_DAYS + 10


async def test_a_longer_retention_extends_an_hour(searched: Searched, clock: SteppedClock) -> None:
    """A worker with the new retention of its route writes into the same hour as one with the old."""
    longer = DynamoDeadLetters(searched.transport, "searched", 90, clock)
    shorter = DynamoDeadLetters(searched.transport, "searched", 1, clock)
    for store, name in ((searched.store, "a"), (longer, "b"), (shorter, "c")):
        await store.put(a_dead_letter(name, subject="s", dead_lettered_at=searched.now))
    assert await searched.find(9) != []
    clock.pass_time(60 * 86_400)
    assert await searched.find(9) == ["b"]


async def test_a_search_by_target_alone_walks_no_hours(searched: Searched) -> None:
    """720 hours of the retention, in which another target failed: one query for each shard, and those of the hours' records."""
    for hour in range(0, RETENTION_DAYS * 24, 8):
        at = searched.now - hour * HOUR_MS
        items = [
            dead_letter_items(
                a_dead_letter(f"m{hour}", subject="s", dead_lettered_at=at, target="dead"), RETENTION_DAYS
            )
        ]
        await searched.write([each for one in items for each in (one.hour, one.dead_letter)])
    rare = a_dead_letter("rare", subject="other", dead_lettered_at=searched.now - 20 * DAY_MS, target="rare")
    await searched.store.put(rare)
    assert await searched.find(20, target="rare") == ["rare"]
    assert searched.calls["Query"] <= keys.SHARDS + 3
    assert await searched.find(20, target="none") == []
    assert searched.calls["Query"] <= keys.SHARDS + 3
    assert await searched.find(2, target="dead") == ["m0", "m8"]


@pytest.mark.promise(13)
async def test_dead_letters_of_both_releases_are_found_by_target_in_order(searched: Searched) -> None:
    """While both run side by side, within one hour too."""
    for number in range(12):
        at = searched.now - number * HOUR_MS // 4
        letter = a_dead_letter(f"m{number}", subject=f"s{number % 3}", dead_lettered_at=at, target="dead")
        if number % 2:
            await searched.write(old_items(letter))
        else:
            await searched.store.put(letter)
    expected = [f"m{number}" for number in range(12)]
    assert await searched.find(20, target="dead") == expected
    assert await searched.find(20) == expected
    oldest_first = [each.id async for each in searched.store.find(DeadLetterFilter(target="dead"))]
    assert oldest_first == expected[::-1]
