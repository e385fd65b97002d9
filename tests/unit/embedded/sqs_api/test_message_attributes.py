"""Message attributes and MD5 digests, against values that AWS and independent implementations computed."""

import base64
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api.message_attributes import (
    Attribute,
    is_valid_text,
    md5_of_attributes,
    md5_of_body,
    read_attributes,
    read_system_attributes,
    select_attributes,
)

TEXT = {"DataType": "String", "StringValue": "attribValue 1"}
NUMBER = {"DataType": "Number.float", "StringValue": "4563442423554324324264524243.32543234"}
BINARY = {"DataType": "Binary", "BinaryValue": base64.b64encode(b"Hello binary world!").decode()}


def _texts(**values: str) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}


@pytest.mark.parametrize(
    ("raw", "digest"),
    [
        # the npm package aws-md5-of-message-attributes
        pytest.param({"attribName1": TEXT}, "19e27d4e946b072f3f58da80d94fd778", id="text"),
        pytest.param({"customNumberTypeAttrib": NUMBER}, "9fe1b90bbd9965bdf77bac517c7d2495", id="number with a suffix"),
        pytest.param({"binaryAttribute": BINARY}, "31a92b15d92f8db860eda32aceb656c3", id="binary"),
        pytest.param(
            {"binaryAttribute": BINARY, "attribName1": TEXT, "customNumberTypeAttrib": NUMBER},
            "c932db14a896c663f83c260297d594ff",
            id="three, not in the order of their names",
        ),
        # returned by AWS: localstack/localstack, tests/aws/services/sqs/test_sqs.snapshot.json
        pytest.param(_texts(Foo="Bar"), "ae7155c6026991b6d54b11589678bf9c", id="AWS, one"),
        pytest.param(_texts(General="Kenobi", Hello="There"), "fca026605781cb4126a1e9044df24232", id="AWS, two"),
        pytest.param(
            {**_texts(General="Kenobi", Hello="There"), "Help.Me": {"DataType": "String", "StringValue": "Me"}},
            "4c360f3fdafd970e05fae2f149d997f5",
            id="AWS, three",
        ),
        pytest.param(
            {
                "attr1": {
                    "DataType": "Binary",
                    "BinaryValue": base64.b64encode(
                        b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"
                    ).decode(),
                }
            },
            "8cbe4db156db8a94db8b801b7addb984",
            id="AWS, binary",
        ),
    ],
)
def test_the_digest_of_attributes_is_the_one_that_aws_computes(raw: dict[str, Any], digest: str) -> None:
    """SDKs compare this digest with their own and refuse the response where it differs."""
    assert md5_of_attributes(read_attributes(raw)) == digest


def test_the_digest_of_a_body_is_plain_md5() -> None:
    """AWS returned this digest for the body `msg`."""
    assert md5_of_body(b"msg") == "6e2baaf3b97dbeef01c0043275f9a0e7"


@pytest.mark.parametrize("raw", [TEXT, NUMBER, BINARY], ids=["text", "number", "binary"])
def test_an_attribute_is_read_back_unchanged(raw: dict[str, Any]) -> None:
    """Reading and writing an attribute changes nothing."""
    (attribute,) = read_attributes({"name": raw})
    assert attribute.as_json() == raw


def test_a_name_may_have_letters_of_any_script() -> None:
    """AWS accepted this one (test_send_message_with_invalid_string_attributes of LocalStack)."""
    assert [each.name for each in read_attributes({"attr.1øßä": TEXT})] == ["attr.1øßä"]


def test_the_size_of_an_attribute_is_name_type_and_value_in_bytes() -> None:
    """Every component counts for the message's size, in bytes and not in characters."""
    assert Attribute("k", "String", "é".encode()).size == 1 + 6 + 2


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        pytest.param({f"a{n}": TEXT for n in range(11)}, "exceeds", id="eleven"),
        pytest.param({"": TEXT}, "1 to 256", id="no name"),
        pytest.param({"a" * 257: TEXT}, "1 to 256", id="long name"),
        pytest.param({"a b": TEXT}, "can only include", id="space in a name"),
        *(pytest.param({f"a-{each}-b": TEXT}, "can only include", id=f"AWS, {each} in a name") for each in '!"§(?'),
        pytest.param({".a": TEXT}, "can only include", id="period at the start"),
        pytest.param({"a.": TEXT}, "can only include", id="period at the end"),
        pytest.param({"a..b": TEXT}, "can only include", id="two periods"),
        pytest.param({"AWS.a": TEXT}, "beginning with", id="reserved"),
        pytest.param({"amazon.a": TEXT}, "beginning with", id="reserved in lower case"),
        pytest.param({"a": {}}, "non-empty message attribute type", id="no type"),
        pytest.param({"a": {"DataType": "Text", "StringValue": "x"}}, "must begin with", id="unknown type"),
        pytest.param({"a": {"DataType": "Stringy", "StringValue": "x"}}, "must begin with", id="type without a period"),
        pytest.param({"a": {"DataType": "String", "StringValue": ""}}, "non-empty value", id="empty text"),
        pytest.param({"a": {"DataType": "String", "StringValue": "\x01"}}, "does not accept", id="control character"),
        pytest.param({"a": {"DataType": "Number", "StringValue": "one"}}, "to a number", id="no number"),
        pytest.param({"a": {"DataType": "Binary", "StringValue": "x"}}, "non-empty value", id="binary without bytes"),
        pytest.param({"a": {"DataType": "Binary", "BinaryValue": "?"}}, "not base64", id="no base64"),
        pytest.param(
            {"a": {"DataType": "String", "StringValue": "x", "StringListValues": ["y"]}}, "not supported", id="list"
        ),
    ],
)
def test_an_attribute_that_aws_refuses_is_refused(raw: dict[str, Any], word: str) -> None:
    """Every rule of the message metadata page fails with InvalidParameterValue and a reason."""
    with pytest.raises(BackendRejectedError, match=word) as caught:
        read_attributes(raw)
    assert caught.value.code == "InvalidParameterValue"


def test_an_attribute_of_the_wrong_json_type_is_malformed() -> None:
    """A text in place of an object is a wrong type."""
    with pytest.raises(BackendRejectedError) as caught:
        read_attributes({"a": "x"})
    assert caught.value.code == "MalformedInput"


def test_the_trace_header_is_the_only_system_attribute() -> None:
    """Another name is refused, and so is a trace header that is not a text."""
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    assert read_system_attributes(header)[0].as_json() == header["AWSTraceHeader"]
    for wrong in ({"SenderId": TEXT}, {"AWSTraceHeader": BINARY}):
        with pytest.raises(BackendRejectedError) as caught:
            read_system_attributes(wrong)
        assert caught.value.code == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("names", "picked"),
    [
        pytest.param([], [], id="none asked"),
        pytest.param(["All"], ["General", "Hello", "Help.Me"], id="All"),
        pytest.param([".*"], ["General", "Hello", "Help.Me"], id="wildcard for all"),
        pytest.param(["Hello", "Other"], ["Hello"], id="one by name"),
        pytest.param(["*"], ["General", "Hello", "Help.Me"], id="AWS, asterisk for all"),
        pytest.param(["Help.*"], ["Help.Me"], id="prefix"),
        pytest.param(["Hel.*"], ["Hello", "Help.Me"], id="AWS, prefix of several"),
        pytest.param(["Hel*"], [], id="an asterisk without a period is no prefix"),
    ],
)
def test_a_receive_gets_the_requested_attributes(names: list[str], picked: list[str]) -> None:
    """Names, prefixes that end in `.*`, and the two spellings of all."""
    raw = {**_texts(General="Kenobi", Hello="There"), "Help.Me": {"DataType": "String", "StringValue": "Me"}}
    assert [each.name for each in select_attributes(read_attributes(raw), names)] == picked


@pytest.mark.parametrize(
    ("character", "carried"),
    [
        *((each, True) for each in ("\t", "\n", "\r", " ", "é", "\ufffd", "😀")),
        *((each, False) for each in ("\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff")),
    ],
    ids=repr,
)
def test_only_the_documented_characters_are_valid(character: str, carried: bool) -> None:
    """The ranges of API_SendMessage, at their ends."""
    assert is_valid_text(f"a{character}b") is carried
