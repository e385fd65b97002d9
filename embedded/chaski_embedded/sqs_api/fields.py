"""Reads typed fields of a request of the SQS JSON protocol, and checks the time of its signature.

Every `read_` function raises `BackendRejectedError`: `MalformedInput` for a wrong JSON type, `MissingParameter` for a
required field that is absent (AWS counts empty text as absent), `InvalidParameterValue` for a number out of its range.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api.errors import invalid_value, malformed, missing

Fields: TypeAlias = Mapping[str, Any]
SIGNATURE_WINDOW = timedelta(minutes=15)
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_SCOPE_DAY = re.compile(r"Credential=[^/,]+/(\d{8})/")


def parse_request(data: bytes) -> Fields:
    """The fields of a request body; an empty body has none."""
    if not data:
        return {}
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise malformed(f"The request body is not JSON in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise malformed("The request body is not a JSON object")
    return value


def read_text(fields: Fields, name: str) -> str | None:
    """A text, or None where the field is absent."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise malformed(f"{name} is not a text")
    return value


def require_text(fields: Fields, name: str) -> str:
    """A required text; it must not be empty."""
    value = read_text(fields, name)
    if not value:
        raise missing(name)
    return value


def read_integer(fields: Fields, name: str, allowed: range, reason: str = "") -> int | None:
    """An integer within `allowed`, or None where the field is absent."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise malformed(f"{name} is not an integer")
    if value not in allowed:
        raise invalid_value(value, name, reason or f"Must be >= {allowed[0]} and <= {allowed[-1]}, if provided.")
    return value


def read_text_list(fields: Fields, name: str) -> Sequence[str]:
    """A list of texts; empty where the field is absent."""
    value = fields.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"{name} is not a list of texts")
    return value


def read_text_map(fields: Fields, name: str) -> Mapping[str, str]:
    """A map of texts; empty where the field is absent."""
    value = read_object_map(fields, name)
    if not all(isinstance(item, str) for item in value.values()):
        raise malformed(f"{name} is not a map of texts")
    return value


def read_object_map(fields: Fields, name: str) -> Mapping[str, Any]:
    """A JSON object; empty where the field is absent."""
    value = fields.get(name) or {}
    if not isinstance(value, dict):
        raise malformed(f"{name} is not a JSON object")
    return value


def read_object_list(fields: Fields, name: str) -> Sequence[Fields]:
    """A list of JSON objects; empty where the field is absent."""
    value = fields.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed(f"{name} is not a list of JSON objects")
    return value


def check_signing_time(headers: Mapping[str, str], now_ms: int) -> None:
    """Refuses a signed request whose time differs by more than 15 minutes; accepts unsigned ones.

    Signatures are not verified. Sources: SQS's error texts (aws/aws-sdk-go#487, aws/aws-sdk-php#642) and
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.

    Args:
        headers: of the request, looked up by names in any case.
        now_ms: epoch milliseconds.

    Raises:
        BackendRejectedError: InvalidSignature.
    """
    authorization = headers.get("Authorization", "")
    signed_at = _read_time(headers.get("X-Amz-Date", ""))
    if not authorization.startswith("AWS4-") or signed_at is None:
        return
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    if signed_at < now - SIGNATURE_WINDOW:
        raise _invalid_signature(
            f"Signature expired: {signed_at:{_TIME_FORMAT}} is now earlier than {now - SIGNATURE_WINDOW:{_TIME_FORMAT}} "
            f"({now:{_TIME_FORMAT}} - 15 min.)"
        )
    if signed_at > now + SIGNATURE_WINDOW:
        raise _invalid_signature(
            f"Signature not yet current: {signed_at:{_TIME_FORMAT}} is still later than {now + SIGNATURE_WINDOW:{_TIME_FORMAT}} "
            f"({now:{_TIME_FORMAT}} + 15 min.)"
        )
    scope = _SCOPE_DAY.search(authorization)
    if scope is not None and scope[1] != f"{signed_at:%Y%m%d}":
        raise _invalid_signature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope[1]}' != '{signed_at:%Y%m%d}', from '{signed_at:{_TIME_FORMAT}}'."
        )


def _read_time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _invalid_signature(reason: str) -> BackendRejectedError:
    return BackendRejectedError("InvalidSignature", reason)
