"""Control records on DynamoDB: the items of one partition of the route's table, read by one query."""

from collections.abc import Sequence
from typing import Any

from chaski_aws.dynamodb import keys, requests
from chaski_aws.dynamodb.items import is_expired
from chaski_aws.dynamodb.queries import read_query
from chaski_aws.dynamodb.table import TTL_ATTRIBUTE, Item, n, read_number, read_text, s
from chaski_aws.http.transport import AwsTransport
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import RETENTION_SECONDS, Clock
from chaski_core.retry.control import ControlAction, ControlRecord

_CONDITION_FAILED = "ConditionalCheckFailedException"
_EVERY = keys.Window("0", "~")
_OUTLIVES_SECONDS = RETENTION_SECONDS + 86_400  # a day longer than its message can exist
_ACTIONS = frozenset(action.value for action in ControlAction)


class DynamoControlRecords:
    """Implements `chaski_core.ports.ControlRecords`. The table is that of one route."""

    def __init__(self, transport: AwsTransport, table: str, clock: Clock) -> None:
        self._transport = transport
        self._table = table
        self._clock = clock

    async def read(self, route: str) -> Sequence[ControlRecord]:
        """All records: one query, which costs one read unit for each 4 KB of them, and one where there are none."""
        query = requests.query(self._table, keys.CONTROLS_PK, _EVERY)
        now = self._clock.now_ms()
        return [
            _record(item, route)
            async for item in read_query(self._transport, query)
            if read_text(item, "action") in _ACTIONS and not is_expired(item, now)
        ]

    async def write(self, record: ControlRecord) -> None:
        """Stores a record; one about a message expires after 15 days."""
        item = _key(record) | {"subject": s(record.subject), "action": s(record.action.value), "at": n(record.at)}
        if record.message_id:
            item |= {"messageId": s(record.message_id), TTL_ATTRIBUTE: n(record.at // 1000 + _OUTLIVES_SECONDS)}
        if record.attempts is not None:
            item["attempts"] = n(record.attempts)
        await self._transport.call("PutItem", requests.put(self._table, item))

    async def remove(self, record: ControlRecord) -> None:
        """Deletes a record, unless another one has replaced it."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": _key(record),
            "ConditionExpression": "attribute_not_exists(pk) OR (#at = :at AND #action = :action)",
            "ExpressionAttributeNames": {"#at": "at", "#action": "action"},
            "ExpressionAttributeValues": {":at": n(record.at), ":action": s(record.action.value)},
        }
        try:
            await self._transport.call("DeleteItem", request)
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:
                raise


def _key(record: ControlRecord) -> Item:
    return {"pk": s(keys.CONTROLS_PK), "sk": s(keys.control_sk(record.message_id, record.subject))}


def _record(item: Item, route: str) -> ControlRecord:
    return ControlRecord(
        route,
        read_text(item, "subject"),
        ControlAction(read_text(item, "action")),
        read_number(item, "at"),
        read_text(item, "messageId"),
        read_number(item, "attempts") if "attempts" in item else None,
    )
