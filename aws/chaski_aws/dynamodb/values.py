"""Values of DynamoDB's items: text, number and binary, written and read. Pure.

Shapes: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

import base64
from typing import Any

Item = dict[str, dict[str, Any]]  # attribute -> {"S" | "N" | "B": value}


def s(text: str) -> dict[str, str]:
    """A text."""
    return {"S": text}


def n(number: int) -> dict[str, str]:
    """A number."""
    return {"N": str(number)}


def b(data: bytes) -> dict[str, str]:
    """Bytes."""
    return {"B": base64.b64encode(data).decode()}


def read_text(item: Item, name: str) -> str:
    """The text of an attribute; "" where the item has none of that name."""
    return str(item[name]["S"]) if name in item else ""


def read_number(item: Item, name: str) -> int:
    """The number of an attribute, which the item must have."""
    return int(item[name]["N"])
