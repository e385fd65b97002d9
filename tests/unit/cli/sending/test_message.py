"""The message that flags describe."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_cli.sending.message import MessageFlags, build_message, parse_headers
from chaski_runtime.process.command_error import CommandError, ExitCode

NOTHING = MessageFlags(None, None, None, [], None, None, None, None)
LEAST = replace(NOTHING, subject="order-1", url="http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        pytest.param({}, {}, id="no content"),
        pytest.param({"content": '{"a": 1}'}, {"content": '{"a": 1}'}, id="text stays text, even if it is JSON"),
        pytest.param({"content": ""}, {"content": ""}, id="empty text is content"),
        pytest.param({"content_json": '{"a": [1.5]}'}, {"content": {"a": [1.5]}}, id="JSON"),
        pytest.param({"content_bytes": "héllo".encode()}, {"content": "héllo"}, id="a file of UTF-8"),
        pytest.param(
            {"content_bytes": b"\xff\x00"}, {"content": "/wA=", "contentEncoding": "base64"}, id="a file of other bytes"
        ),
        pytest.param({"method": "PUT"}, {"method": "PUT"}, id="method"),
        pytest.param({"headers": ["X-A: b:c", "X-B:"]}, {"headers": {"X-A": "b:c", "X-B": ""}}, id="headers"),
    ],
)
def test_flags_build_the_body(changes: dict[str, Any], body: dict[str, Any]) -> None:
    """Each flag sets its part of the body; nothing else is in it."""
    assert build_message(replace(LEAST, **changes)) == {
        "subject": "order-1",
        "body": {"url": "http://127.0.0.1:9/", **body},
    }


def test_an_id_is_kept() -> None:
    """Beside the subject."""
    assert build_message(replace(LEAST, id="abc"))["id"] == "abc"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        pytest.param(NOTHING, "--subject", id="no subject"),
        pytest.param(replace(NOTHING, subject="s"), "--url", id="no url"),
        pytest.param(replace(LEAST, content="a", content_json="1"), "more than once", id="two contents"),
        pytest.param(replace(LEAST, content_json="{"), "--json", id="broken JSON"),
        pytest.param(replace(LEAST, headers=["X-A"]), "--header", id="a header without a value"),
    ],
)
def test_invalid_flags_are_wrong_input(flags: MessageFlags, named: str) -> None:
    """The error names the flag and the next step, with exit code 2."""
    with pytest.raises(CommandError, match=named) as caught:
        build_message(flags)
    assert caught.value.exit_code is ExitCode.WRONG_INPUT
    assert caught.value.next_step


def test_flags_know_whether_any_was_given() -> None:
    """A file of messages excludes the flags of a single one."""
    assert not NOTHING.any_given
    assert replace(NOTHING, headers=["X-A: b"]).any_given
    assert replace(NOTHING, content="").any_given


def test_headers_keep_everything_after_the_first_colon() -> None:
    """Values may contain colons."""
    assert parse_headers(["Authorization: Bearer a:b"], "--ingest-header") == {"Authorization": "Bearer a:b"}
