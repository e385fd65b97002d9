"""Requests to DynamoDB. Pure.

Reference: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html and the pages of other actions.
"""

from collections.abc import Sequence
from typing import Any

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.table import INDEX_KEYS, TTL_ATTRIBUTE, Item
from chaski_core.dead_letter import CLAIM_MS, ReplayClaim

MAX_BATCH_KEYS = 25  # of 100: an item may have 400 KB, a response 16 MB


def query(
    table: str, pk: str, window: keys.Window, index: str | None = None, *, newest_first: bool = False
) -> dict[str, Any]:
    """Items of one partition by their sort keys; consistent for the table, eventually consistent for an index (keys only)."""
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
        "ExpressionAttributeNames": {"#pk": INDEX_KEYS[index] if index else "pk", "#sk": "sk"},
        "ExpressionAttributeValues": {
            ":pk": {"S": pk},
            ":first": {"S": window.first},
            ":last": {"S": window.last},
        },
    }
    if newest_first:
        request["ScanIndexForward"] = False
    return request | ({"IndexName": index} if index else {"ConsistentRead": True})


def parts_query(table: str, pk: str) -> dict[str, Any]:
    """The parts of a message, in order."""
    return query(table, pk, keys.Window("0", "~"))


def batch_get(table: str, found: Sequence[Item]) -> dict[str, Any]:
    """The whole items of entries of an index."""
    wanted = [_key(item) for item in found]
    return {"RequestItems": {table: {"Keys": wanted, "ConsistentRead": True}}}


def put(table: str, item: Item) -> dict[str, Any]:
    """Writes an item; replaces one with the same key."""
    return {"TableName": table, "Item": item}


def put_longer(table: str, item: Item) -> dict[str, Any]:
    """Writes an item, `ConditionalCheckFailedException` where one with the same key expires later."""
    return put(table, item) | {
        "ConditionExpression": "attribute_not_exists(pk) OR expiresAt <= :expires",
        "ExpressionAttributeValues": {":expires": item[TTL_ATTRIBUTE]},
    }


def put_once(table: str, once: Item, item: Item, token: str) -> dict[str, Any]:
    """Writes two items in one transaction; `ConditionalCheckFailedException` where the key of `once` exists.

    `token`: up to 36 characters, names the request for ten minutes, so that a retry after a lost response gets the
    same response (API_TransactWriteItems, ClientRequestToken).
    """
    first = put(table, once) | {"ConditionExpression": "attribute_not_exists(pk)"}
    return {"TransactItems": [{"Put": first}, {"Put": put(table, item)}], "ClientRequestToken": token}


def get(table: str, key: Item) -> dict[str, Any]:
    """Reads an item by its primary key, consistently."""
    return {"TableName": table, "Key": key, "ConsistentRead": True}


def get_died(table: str, message_id: str) -> dict[str, Any]:
    """Reads the item that records that a message became a dead letter, consistently."""
    return get(table, {"pk": {"S": keys.died_pk(message_id)}, "sk": {"S": keys.DIED_SK}})


def get_dead_letter(table: str, key: keys.Key) -> dict[str, Any]:
    """Reads a dead letter, consistently."""
    return get(table, _primary_key(key))


def get_attempt(table: str, message_id: str) -> dict[str, Any]:
    """Reads an attempt record, consistently."""
    return get(table, _attempt_key(message_id))


def delete_attempt(table: str, message_id: str) -> dict[str, Any]:
    """Deletes an attempt record; succeeds where there is none."""
    return {"TableName": table, "Key": _attempt_key(message_id)}


def mark_dead_letter(table: str, key: keys.Key, replay: str) -> dict[str, Any]:
    """Sets a dead letter's attribute `replay`; `ConditionalCheckFailedException` where it does not exist."""
    return {
        "TableName": table,
        "Key": _primary_key(key),
        "UpdateExpression": "SET replay = :replay REMOVE claimRun, claimedAt",
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeValues": {":replay": {"S": replay}},
    }


def claim_dead_letter(table: str, key: keys.Key, replay: str | None, claim: ReplayClaim) -> dict[str, Any]:
    """Claims a dead letter for a run, by the rule of `chaski_core.dead_letter.claimable`.

    `replay`: its attribute `replay` as the run read it. `ConditionalCheckFailedException` where it can't be claimed.
    """
    values = {
        ":run": {"S": claim.run},
        ":at": {"N": str(claim.at)},
        ":over": {"N": str(claim.at - CLAIM_MS)},
    } | ({} if replay is None else {":replay": {"S": replay}})
    unchanged = "attribute_not_exists(replay)" if replay is None else "replay = :replay"
    free = "(attribute_not_exists(claimRun) OR claimRun = :run OR claimedAt <= :over)"
    return {
        "TableName": table,
        "Key": _primary_key(key),
        "UpdateExpression": "SET claimRun = :run, claimedAt = :at",
        "ConditionExpression": f"attribute_exists(pk) AND {unchanged} AND {free}",
        "ExpressionAttributeValues": values,
    }


def delete_dead_letter(table: str, key: keys.Key) -> dict[str, Any]:
    """Deletes a dead letter; the response has its attributes."""
    return {"TableName": table, "Key": _primary_key(key), "ReturnValues": "ALL_OLD"}


def delete_part(table: str, item: Item) -> dict[str, Any]:
    """Deletes a part of a dead letter's message."""
    return {"TableName": table, "Key": _key(item)}


def _primary_key(key: keys.Key) -> Item:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def _key(item: Item) -> Item:
    return {"pk": item["pk"], "sk": item["sk"]}


def _attempt_key(message_id: str) -> Item:
    return {"pk": {"S": keys.attempt_pk(message_id)}, "sk": {"S": keys.ATTEMPT_SK}}
