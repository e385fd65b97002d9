"""Typed fields out of a request."""

from collections.abc import Callable
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api import fields as sqs_fields


def _code(call: Callable[[], object]) -> str:
    with pytest.raises(BackendRejectedError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("data", [b"{", b"[]", b"1", b'{"a": "\\ud800"}', b"\xff"], ids=repr)
def test_a_body_that_is_no_json_object_is_malformed(data: bytes) -> None:
    """Neither other JSON values nor half surrogates pass."""
    assert _code(lambda: sqs_fields.parse_request(data)) == "MalformedInput"


def test_an_empty_body_has_no_fields() -> None:
    """ListQueues may come with nothing at all."""
    assert sqs_fields.parse_request(b"") == {}


@pytest.mark.parametrize(
    ("call", "value"),
    [
        pytest.param(sqs_fields.text, 1, id="number for a text"),
        pytest.param(sqs_fields.text_list, "a", id="text for a list"),
        pytest.param(sqs_fields.text_list, [1], id="list of numbers"),
        pytest.param(sqs_fields.text_map, {"a": 1}, id="map of numbers"),
        pytest.param(sqs_fields.object_map, ["a"], id="list for an object"),
        pytest.param(sqs_fields.object_list, ["a"], id="list of texts for objects"),
    ],
)
def test_a_value_of_the_wrong_type_is_malformed(call: Callable[..., object], value: Any) -> None:
    """What is no matter of values can't be told as one."""
    assert _code(lambda: call({"Name": value}, "Name")) == "MalformedInput"


@pytest.mark.parametrize("value", ["1", True, 1.0, [1]], ids=repr)
def test_only_an_integer_is_an_integer(value: Any) -> None:
    """True is none either, although it is one to Python."""
    assert _code(lambda: sqs_fields.integer({"Name": value}, "Name", range(2))) == "MalformedInput"


@pytest.mark.parametrize(("value", "fits"), [(-1, False), (0, True), (20, True), (21, False)])
def test_an_integer_out_of_its_range_is_an_invalid_value(value: int, fits: bool) -> None:
    """Both ends belong to the range."""
    if fits:
        assert sqs_fields.integer({"WaitTimeSeconds": value}, "WaitTimeSeconds", range(21)) == value
    else:
        assert (
            _code(lambda: sqs_fields.integer({"WaitTimeSeconds": value}, "WaitTimeSeconds", range(21)))
            == "InvalidParameterValue"
        )


@pytest.mark.parametrize("fields", [{}, {"Name": None}, {"Name": ""}], ids=["absent", "null", "empty"])
def test_a_needed_text_that_is_absent_or_empty_is_missing(fields: dict[str, Any]) -> None:
    """AWS tells an empty MessageBody as a missing one."""
    assert _code(lambda: sqs_fields.needed_text(fields, "Name")) == "MissingParameter"


def test_absent_fields_have_empty_values() -> None:
    """No caller needs to say what it does not want."""
    assert sqs_fields.text({}, "Name") is None
    assert sqs_fields.integer({}, "Name", range(2)) is None
    assert sqs_fields.text_list({}, "Name") == []
    assert sqs_fields.object_list({}, "Name") == []
    assert sqs_fields.text_map({}, "Name") == {}
