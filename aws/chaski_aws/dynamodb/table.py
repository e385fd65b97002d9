"""The schema of a route's table: keys, indexes, expiry, and the encoding of attribute values. Pure.

On-demand, since failures come in bursts and are rare in between. An index holds keys and the attributes needed to filter
an entry; each index costs one more write per dead letter. An attempt record has one entry while its message is hidden at the head
of its subject; other items are in no index.

Attribute values: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

import base64
from collections.abc import Mapping
from typing import Any

Item = dict[str, dict[str, Any]]  # attribute -> {"S" | "N" | "B": value}
TTL_ATTRIBUTE = "expiresAt"
SUBJECT_INDEX, TARGET_INDEX, ID_INDEX = "by-subject", "by-target", "by-id"
INDEX_KEYS: Mapping[str, str] = {SUBJECT_INDEX: "subjectKey", TARGET_INDEX: "targetKey", ID_INDEX: "idKey"}
PROJECTED = ("errorClass", TTL_ATTRIBUTE)  # attributes of an index entry beside keys: enough to filter it


def table_definition(name: str) -> dict[str, Any]:
    """The fields of CreateTable for the schema; tags and protection are added by the caller."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in ("pk", "sk", *INDEX_KEYS.values())
        ],
        "KeySchema": _key_schema("pk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": _key_schema(attribute),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(PROJECTED)},
            }
            for index, attribute in INDEX_KEYS.items()
        ],
    }


def time_to_live(name: str) -> dict[str, Any]:
    """The fields of UpdateTimeToLive."""
    return {
        "TableName": name,
        "TimeToLiveSpecification": {"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
    }


def _key_schema(partition: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]


def s(text: str) -> dict[str, str]:
    """A string value."""
    return {"S": text}


def n(number: int) -> dict[str, str]:
    """A number value."""
    return {"N": str(number)}


def b(data: bytes) -> dict[str, str]:
    """A binary value."""
    return {"B": base64.b64encode(data).decode()}


def read_text(item: Item, name: str) -> str:
    """The string of an attribute; "" where the item does not have it."""
    return str(item[name]["S"]) if name in item else ""


def read_number(item: Item, name: str) -> int:
    """The number of an attribute, which the item must have."""
    return int(item[name]["N"])
