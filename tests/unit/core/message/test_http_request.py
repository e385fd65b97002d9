"""The HTTP request that a message's body describes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.message.envelope import HttpRequest, http_request

URL = "https://api.example/hooks/1"
JSON = (("Content-Type", "application/json"),)


@pytest.mark.parametrize(
    ("body", "headers", "content"),
    [
        pytest.param({}, (), None, id="absent: no body"),
        pytest.param({"content": None}, (), None, id="null: no body"),
        pytest.param({"content": None, "contentEncoding": "base64"}, (), None, id="null in base64: no body"),
        pytest.param({"content": ""}, (), b"", id="empty text: a body of no bytes"),
        pytest.param({"content": "hi"}, (), b"hi", id="text"),
        pytest.param({"content": "é😀\uffff"}, (), "é😀\uffff".encode(), id="text in UTF-8"),
        pytest.param({"content": '{"a": 1}'}, (), b'{"a": 1}', id="text that looks like JSON is text"),
        pytest.param({"content": {"text": "hi"}}, JSON, b'{"text":"hi"}', id="object"),
        pytest.param({"content": {}}, JSON, b"{}", id="empty object"),
        pytest.param({"content": []}, JSON, b"[]", id="empty array"),
        pytest.param({"content": [1, None, "é"]}, JSON, '[1,null,"é"]'.encode(), id="array"),
        pytest.param({"content": 0}, JSON, b"0", id="zero"),
        pytest.param({"content": 2**64 + 1}, JSON, b"18446744073709551617", id="long integer"),
        pytest.param({"content": 1.5}, JSON, b"1.5", id="float"),
        pytest.param({"content": True}, JSON, b"true", id="true"),
        pytest.param({"content": False}, JSON, b"false", id="false"),
        pytest.param({"content": "AAH/", "contentEncoding": "base64"}, (), b"\0\x01\xff", id="base64"),
        pytest.param({"content": "", "contentEncoding": "base64"}, (), b"", id="base64 of nothing"),
        pytest.param({"content": "AAH/", "contentEncoding": None}, (), b"AAH/", id="encoding null"),
    ],
)
def test_content_becomes_the_bytes_to_send(
    body: dict[str, object], headers: tuple[tuple[str, str], ...], content: bytes | None
) -> None:
    """Text unchanged, JSON with its content type, nothing without a body; POST is the default."""
    assert http_request({"url": URL, **body}) == HttpRequest("POST", URL, headers, content)


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
def test_a_given_content_type_is_kept_in_any_case(name: str) -> None:
    """No second one is added."""
    request = http_request({"url": URL, "headers": {"X-A": "b", name: "application/ld+json"}, "content": {}})
    assert request.headers == (("X-A", "b"), (name, "application/ld+json"))


def test_the_json_type_comes_after_the_given_headers() -> None:
    """Given headers keep their order."""
    request = http_request({"url": URL, "headers": {"X-B": "1", "X-A": "2"}, "content": []})
    assert request.headers == (("X-B", "1"), ("X-A", "2"), *JSON)


@pytest.mark.parametrize(
    ("method", "expected"), [("PUT", "PUT"), ("", "POST"), (None, "POST"), ("patch", "patch")], ids=str
)
def test_the_method_is_the_producers(method: str | None, expected: str) -> None:
    """As written; POST is the default."""
    assert http_request({"url": URL, "method": method}).method == expected


@pytest.mark.parametrize("headers", [None, {}], ids=["null", "empty"])
def test_headers_may_be_none(headers: object) -> None:
    """Null and empty mean no headers."""
    assert http_request({"url": URL, "headers": headers}).headers == ()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({}, "body.url", id="no url"),
        pytest.param({"url": 5}, "body.url", id="url is a number"),
        pytest.param({"url": URL, "method": 5}, "body.method", id="method is a number"),
        pytest.param({"url": URL, "headers": ["X-A"]}, "body.headers", id="headers are a list"),
        pytest.param({"url": URL, "headers": {"X-A": 5}}, "body.headers", id="header value is a number"),
        pytest.param({"url": URL, "headers": {"X-A": None}}, "body.headers", id="header value is null"),
        pytest.param({"url": URL, "content": "a", "contentEncoding": "gzip"}, "body.contentEncoding", id="encoding"),
        pytest.param({"url": URL, "content": "a", "contentEncoding": ["x"]}, "body.contentEncoding", id="odd encoding"),
        pytest.param({"url": URL, "content": {}, "contentEncoding": "base64"}, "body.contentEncoding", id="not text"),
        pytest.param({"url": URL, "content": "a", "contentEncoding": "base64"}, "body.content", id="cut base64"),
        pytest.param({"url": URL, "content": "é", "contentEncoding": "base64"}, "body.content", id="not ASCII"),
        pytest.param({"url": URL, "content": "A-_=", "contentEncoding": "base64"}, "body.content", id="URL alphabet"),
        pytest.param({"url": URL, "content": "AAAA\n", "contentEncoding": "base64"}, "body.content", id="line end"),
    ],
)
def test_an_invalid_body_names_its_field(body: dict[str, object], field: str) -> None:
    """A ValueError that starts with the field, short enough for a log line."""
    with pytest.raises(ValueError, match=f"^{field}: ") as caught:
        http_request(body)
    assert len(str(caught.value)) < 200


def test_a_long_unknown_encoding_is_cut_in_the_error() -> None:
    """A producer's text does not fill the logs."""
    with pytest.raises(ValueError, match=r"^body\.contentEncoding: ") as caught:
        http_request({"url": URL, "content": "a", "contentEncoding": "x" * 100_000})
    assert len(str(caught.value)) < 200


@given(st.binary(max_size=60))
def test_any_bytes_can_be_sent_by_base64(data: bytes) -> None:
    """Also those that are not UTF-8."""
    body = {"url": URL, "content": base64.b64encode(data).decode(), "contentEncoding": "base64"}
    assert http_request(body).body == data
