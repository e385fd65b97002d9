"""Typed fields of a request, and the time of its signature."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api.errors import error_response
from chaski_embedded.sqs_api.fields import (
    check_signing_time,
    parse_request,
    read_integer,
    read_object_list,
    read_object_map,
    read_text,
    read_text_list,
    read_text_map,
    require_text,
)

NOW = datetime(2026, 11, 29, 0, 10, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def _code(call: Callable[[], object]) -> str:
    with pytest.raises(BackendRejectedError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("data", [b"{", b"[]", b"1", b'{"a": "\\ud800"}', b"\xff"], ids=repr)
def test_a_body_that_is_not_a_json_object_is_malformed(data: bytes) -> None:
    """Other JSON values and lone surrogates are refused."""
    assert _code(lambda: parse_request(data)) == "MalformedInput"


def test_an_empty_body_has_no_fields() -> None:
    """ListQueues may have an empty body."""
    assert parse_request(b"") == {}


@pytest.mark.parametrize(
    ("call", "value"),
    [
        pytest.param(read_text, 1, id="number for a text"),
        pytest.param(read_text_list, "a", id="text for a list"),
        pytest.param(read_text_list, [1], id="list of numbers"),
        pytest.param(read_text_map, {"a": 1}, id="map of numbers"),
        pytest.param(read_object_map, ["a"], id="list for an object"),
        pytest.param(read_object_list, ["a"], id="list of texts for objects"),
    ],
)
def test_a_value_of_the_wrong_type_is_malformed(call: Callable[..., object], value: Any) -> None:
    """A wrong type is not reported as a wrong value."""
    assert _code(lambda: call({"Name": value}, "Name")) == "MalformedInput"


@pytest.mark.parametrize("value", ["1", True, 1.0, [1]], ids=repr)
def test_only_an_integer_is_an_integer(value: Any) -> None:
    """True is refused, although it is an int in Python."""
    assert _code(lambda: read_integer({"Name": value}, "Name", range(2))) == "MalformedInput"


@pytest.mark.parametrize(("value", "fits"), [(-1, False), (0, True), (20, True), (21, False)])
def test_an_integer_out_of_its_range_is_an_invalid_value(value: int, fits: bool) -> None:
    """The range includes both ends."""
    if fits:
        assert read_integer({"WaitTimeSeconds": value}, "WaitTimeSeconds", range(21)) == value
    else:
        assert (
            _code(lambda: read_integer({"WaitTimeSeconds": value}, "WaitTimeSeconds", range(21)))
            == "InvalidParameterValue"
        )


@pytest.mark.parametrize("fields", [{}, {"Name": None}, {"Name": ""}], ids=["absent", "null", "empty"])
def test_a_required_text_that_is_absent_or_empty_is_missing(fields: dict[str, Any]) -> None:
    """AWS reports an empty MessageBody as missing."""
    assert _code(lambda: require_text(fields, "Name")) == "MissingParameter"


def test_absent_fields_have_empty_values() -> None:
    """Optional fields may be omitted."""
    assert read_text({}, "Name") is None
    assert read_integer({}, "Name", range(2)) is None
    assert read_text_list({}, "Name") == []
    assert read_object_list({}, "Name") == []
    assert read_text_map({}, "Name") == {}


# ---- time of the signature


def signed(at: str, day: str | None = None) -> dict[str, str]:
    """Headers of a request signed at a time."""
    scope = f"AKIA/{day or at[:8]}/us-east-1/sqs/aws4_request"
    return {
        "X-Amz-Date": at,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=00",
    }


@pytest.mark.parametrize("at", ["20261129T001000Z", "20261128T235500Z", "20261129T002500Z"])
def test_fifteen_minutes_are_allowed(at: str) -> None:
    """In either direction, and over midnight."""
    check_signing_time(signed(at), NOW_MS)


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        pytest.param(
            signed("20261128T235459Z"),
            "Signature expired: 20261128T235459Z is now earlier than 20261128T235500Z (20261129T001000Z - 15 min.)",
            id="too old",
        ),
        pytest.param(
            signed("20261129T002501Z"),
            "Signature not yet current: 20261129T002501Z is still later than 20261129T002500Z "
            "(20261129T001000Z + 15 min.)",
            id="from the future",
        ),
        pytest.param(
            signed("20261129T001000Z", day="20261128"),
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            "'20261128' != '20261129', from '20261129T001000Z'.",
            id="another day in the scope",
        ),
    ],
)
def test_a_wrong_time_is_refused_with_the_message_of_aws(headers: dict[str, str], sentence: str) -> None:
    """With the code by which SDKs detect that their clock is wrong."""
    with pytest.raises(BackendRejectedError) as caught:
        check_signing_time(headers, NOW_MS)
    assert (caught.value.code, caught.value.reason) == ("InvalidSignature", sentence)
    answer = error_response(caught.value.code, caught.value.reason)
    assert answer.status == 403
    assert answer.body["__type"].endswith("#InvalidSignatureException")
    assert answer.headers["x-amzn-query-error"] == "SignatureDoesNotMatch;Sender"


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Amz-Date": "20200101T000000Z"}, {**signed("20200101T000000Z"), "X-Amz-Date": "soon"}],
    ids=["nothing", "not signed", "no time"],
)
def test_an_unsigned_request_is_accepted(headers: dict[str, str]) -> None:
    """The server has no authentication."""
    check_signing_time(headers, NOW_MS)
