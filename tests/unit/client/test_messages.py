"""Messages as ingest takes them, requests of many, and credentials."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from chaski_client import Message
from chaski_client.connection import MAX_BYTES, MAX_LINES, Destination, requests_of
from chaski_client.sync import Client


def parsed(**given: Any) -> Any:
    """The JSON document of a message with these fields."""
    return json.loads(Message(subject="s", url="http://t/", id="i", **given).data)


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({}, {}),
        ({"content": "text"}, {"content": "text"}),
        ({"content": {"a": [1.5, None]}}, {"content": {"a": [1.5, None]}}),
        ({"content": 0}, {"content": 0}),
        ({"content": False}, {"content": False}),
        ({"content": b"\x00\xff"}, {"content": base64.b64encode(b"\x00\xff").decode(), "contentEncoding": "base64"}),
        ({"method": "PUT", "headers": {"X-A": "b"}}, {"method": "PUT", "headers": {"X-A": "b"}}),
    ],
)
def test_a_message_has_what_was_given(given: dict[str, Any], body: dict[str, Any]) -> None:
    """And nothing else."""
    assert parsed(**given) == {"id": "i", "subject": "s", "body": {"url": "http://t/", **body}}


def test_each_message_has_an_id_of_its_own_that_stays() -> None:
    """So a repeat of the same object is the same message."""
    first, second = Message(subject="s", url="u"), Message(subject="s", url="u")
    assert first.id != second.id
    assert first.data == first.data


def test_content_that_json_can_not_hold_is_an_error() -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="not JSON serializable"):
        _ = Message(subject="s", url="u", content=object()).data


def test_requests_have_at_most_the_documented_size_and_keep_the_order() -> None:
    """By number of lines and by bytes; a large message is a request of its own."""
    many = [Message(subject="s", url="u", id=str(number)) for number in range(2 * MAX_LINES + 1)]
    assert [len(each) for each in requests_of(many)] == [MAX_LINES, MAX_LINES, 1]
    large = [Message(subject="s", url="u", content="x" * 250_000) for _ in range(10)]
    grouped = list(requests_of(large))
    assert [message for each in grouped for message in each] == large
    assert all(sum(len(message.data) + 1 for message in each) <= MAX_BYTES for each in grouped)
    assert list(requests_of([])) == []


def test_the_token_is_read_again_for_each_request(tmp_path: Path) -> None:
    """The kubelet renews it."""
    file = tmp_path / "token"
    destination = Destination("http://ingest/", "shop/orders", file)
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        assert destination.headers() == {"Authorization": f"Bearer {token}"}
    file.unlink()
    with pytest.raises(FileNotFoundError):
        destination.headers()
    assert destination.address("/messages") == "http://ingest/v1/routes/shop/orders/messages"


def test_wrong_settings_are_refused_by_name(tmp_path: Path) -> None:
    """Without a request; and a key is in no representation."""
    with pytest.raises(ValueError, match="route: expected NAMESPACE/NAME"):
        Destination("http://ingest", "orders")
    with pytest.raises(ValueError, match="token_file and api_key"):
        Destination("http://ingest", "shop/orders", tmp_path / "token", "key")
    with pytest.raises(ValueError, match="url: expected"):
        Client("ingest:8080", "shop/orders")
    assert "hidden" not in repr(Destination("http://ingest", "shop/orders", api_key="hidden"))
