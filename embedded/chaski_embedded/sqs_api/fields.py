"""Reads typed fields out of a request of the SQS JSON protocol.

Every function raises `BackendRejectedError`: `MalformedInput` for a JSON type that can't be, `MissingParameter` for
what is needed and absent (AWS counts empty text as absent), `InvalidParameterValue` for a number out of its range.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from chaski_embedded.sqs_api.errors import invalid_value, malformed, missing

Fields: TypeAlias = Mapping[str, Any]


def parse_request(data: bytes) -> Fields:
    """The fields of a request body; an empty body has none."""
    if not data:
        return {}
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise malformed(f"The request body is not JSON in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise malformed("The request body is no JSON object")
    return value


def text(fields: Fields, name: str) -> str | None:
    """A text, or None where the field is absent."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise malformed(f"{name} is no text")
    return value


def needed_text(fields: Fields, name: str) -> str:
    """A text that must be there and not empty."""
    value = text(fields, name)
    if not value:
        raise missing(name)
    return value


def integer(fields: Fields, name: str, allowed: range, reason: str = "") -> int | None:
    """An integer within `allowed`, or None where the field is absent."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise malformed(f"{name} is no integer")
    if value not in allowed:
        raise invalid_value(value, name, reason or f"Must be >= {allowed[0]} and <= {allowed[-1]}, if provided.")
    return value


def text_list(fields: Fields, name: str) -> Sequence[str]:
    """A list of texts; none where the field is absent."""
    value = fields.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"{name} is no list of texts")
    return value


def text_map(fields: Fields, name: str) -> Mapping[str, str]:
    """A map of texts; empty where the field is absent."""
    value = object_map(fields, name)
    if not all(isinstance(item, str) for item in value.values()):
        raise malformed(f"{name} is no map of texts")
    return value


def object_map(fields: Fields, name: str) -> Mapping[str, Any]:
    """A JSON object; empty where the field is absent."""
    value = fields.get(name) or {}
    if not isinstance(value, dict):
        raise malformed(f"{name} is no JSON object")
    return value


def object_list(fields: Fields, name: str) -> Sequence[Fields]:
    """A list of JSON objects; empty where the field is absent."""
    value = fields.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed(f"{name} is no list of JSON objects")
    return value
