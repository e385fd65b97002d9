"""One message out of flags."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_cli.errors import CommandError, Exit
from chaski_cli.sending.message import Flags, headers_of, message

NOTHING = Flags(None, None, None, [], None, None, None, None)
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
def test_flags_make_the_body(changes: dict[str, Any], body: dict[str, Any]) -> None:
    """Each flag says its own part of the request, and nothing that was not given is in it."""
    assert message(replace(LEAST, **changes)) == {"subject": "order-1", "body": {"url": "http://127.0.0.1:9/", **body}}


def test_an_id_is_kept() -> None:
    """The producer's id goes beside the subject."""
    assert message(replace(LEAST, id="abc"))["id"] == "abc"


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
def test_wrong_flags_are_the_callers_fault(flags: Flags, named: str) -> None:
    """The error names the flag, what to do next, and ends with exit code 2."""
    with pytest.raises(CommandError, match=named) as caught:
        message(flags)
    assert caught.value.exit_code is Exit.WRONG_INPUT
    assert caught.value.next_step


def test_flags_know_whether_any_was_given() -> None:
    """A file of messages beside flags of one message can then be refused."""
    assert not NOTHING.any_given
    assert replace(NOTHING, headers=["X-A: b"]).any_given
    assert replace(NOTHING, content="").any_given


def test_headers_keep_everything_after_the_first_colon() -> None:
    """Values may hold colons themselves."""
    assert headers_of(["Authorization: Bearer a:b"], "--ingest-header") == {"Authorization": "Bearer a:b"}
