"""How `chaski listen` shows a request."""

import datetime as dt

from chaski_cli.dev.target import Request

AT = dt.datetime(2026, 11, 24, 10, 0, 0, 123_000, tzinfo=dt.UTC)
HEADERS = {"Chaski-Subject": "k%C3%BCche%201", "Chaski-Attempt": "2", "Host": "127.0.0.1:9001"}


def test_a_line_has_what_identifies_the_attempt() -> None:
    """The subject is decoded."""
    line = Request(AT, "POST", "/hook?x=1", HEADERS, b'{"a":1}', 503).as_line()
    assert line == '10:00:00.123  POST /hook?x=1  subject küche 1  attempt 2  -> 503  {"a":1}'


def test_a_request_of_another_sender_has_no_subject() -> None:
    """And an empty body leaves nothing behind."""
    assert Request(AT, "GET", "/", {}, b"", 200).as_line() == "10:00:00.123  GET /  -> 200"


def test_a_long_body_is_cut_and_bytes_are_replaced() -> None:
    """The number of bytes stays."""
    line = Request(AT, "PUT", "/", {}, b"\xff" + b"x" * 1_000, 200).as_line()
    assert line.endswith("x… (1001 bytes)")
    assert "\ufffd" in line


def test_json_has_the_whole_request() -> None:
    """One object."""
    assert Request(AT, "POST", "/hook", HEADERS, b"text", 200).as_json() == {
        "at": "2026-11-24T10:00:00.123+00:00",
        "method": "POST",
        "path": "/hook",
        "headers": HEADERS,
        "body": "text",
        "status": 200,
    }
