"""What a route's table is made of. Pure.

On-demand, since failures come in bursts and are rare between them. Indexes hold keys and what is needed to leave an
entry out; each costs a write more for every dead letter, and nothing for attempt records, which stand in none.
"""

from typing import Any

from chaski_aws.dynamodb.items import INDEX_KEYS, PROJECTED
from chaski_aws.dynamodb.marks import TTL_ATTRIBUTE


def table_definition(name: str) -> dict[str, Any]:
    """The fields of CreateTable that make the table what `dynamodb.py` expects; tags and protection come on top."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in ("pk", "sk", *INDEX_KEYS.values())
        ],
        "KeySchema": _key("pk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": _key(attribute),
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


def _key(partition: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
