"""Leases of limits on DynamoDB: one item of the route's table for each limit, replaced under the condition that it has not changed.

A write costs one write unit for each 1 KB of the item, which about ten leases have; also one that is refused. A read costs one read
unit for each 4 KB.
"""

from collections.abc import Sequence
from typing import Any

from chaski_aws.dynamodb import keys, requests
from chaski_aws.dynamodb.table import TTL_ATTRIBUTE, Item, n, read_number, s
from chaski_aws.http.transport import AwsTransport
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Clock
from chaski_core.retry.leases import Lease, LeaseTable, LimitKey

_CONDITION_FAILED = "ConditionalCheckFailedException"
_UNUSED_SECONDS = 86_400  # after which DynamoDB deletes an item; far longer than any lease


class DynamoLimitLeases:
    """Implements `chaski_core.retry.leases.LimitLeases`. The table is that of one route."""

    def __init__(self, transport: AwsTransport, table: str, clock: Clock) -> None:
        self._transport = transport
        self._table = table
        self._clock = clock

    async def read(self, key: LimitKey) -> LeaseTable:
        """The leases, by a consistent read."""
        item = (await self._transport.call("GetItem", requests.get(self._table, _key(key)))).get("Item")
        if not item:
            return LeaseTable(0, ())
        return LeaseTable(read_number(item, "version"), [_lease(each["M"]) for each in item["leases"]["L"]])

    async def write(self, key: LimitKey, version: int, leases: Sequence[Lease]) -> bool:
        """Replaces the item, unless another worker has."""
        item: dict[str, Any] = _key(key) | {
            "version": n(version + 1),
            "leases": {"L": [{"M": _lease_item(lease)} for lease in leases]},
            TTL_ATTRIBUTE: n(self._clock.now_ms() // 1000 + _UNUSED_SECONDS),
        }
        request = requests.put(self._table, item) | {"ConditionExpression": "attribute_not_exists(pk)"}
        if version:
            request |= {
                "ConditionExpression": "#version = :version",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":version": n(version)},
            }
        try:
            await self._transport.call("PutItem", request)
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:
                raise
            return False
        return True


def _key(key: LimitKey) -> Item:
    return {"pk": s(keys.lease_pk(key.target, key.host)), "sk": s(keys.LEASE_SK)}


def _lease_item(lease: Lease) -> Item:
    return {
        "holder": s(lease.holder),
        "shares": n(lease.shares),
        "whole": n(lease.whole),
        "wants": n(lease.wants),
        "beat": n(lease.beat),
        "expires": n(lease.expires_seconds),
    }


def _lease(item: Item) -> Lease:
    numbers = [read_number(item, name) for name in ("shares", "whole", "wants", "beat", "expires")]
    return Lease(item["holder"]["S"], *numbers)
