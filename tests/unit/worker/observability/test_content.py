"""A message's content in a log line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.redaction import Redaction
from chaski_worker.observability.content import REDACTED, redacted_content

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("about a llama", "about a llama"),
        ("two\nlines\x1b[31m", "two lines[31m"),
        ({"text": "hi", "n": 10**40}, '{"text":"hi","n":' + str(10**40) + "}"),
        ({"a": {"password": "hunter2", "b": ["c"]}}, f'{{"a":{{"password":"{REDACTED}","b":["c"]}}}}'),
        ({"apiKeys": ["one", "two"]}, f'{{"apiKeys":"{REDACTED}"}}'),
        ({"access_token": 12345}, f'{{"access_token":"{REDACTED}"}}'),
        ('{"client_secret": "x\\"y", "a": 1}', f'{{"client_secret":"{REDACTED}","a":1}}'),
        ({"note": '{"pin": 1, "passphrase": "s"}'}, f'{{"note":"{{\\"pin\\":1,\\"passphrase\\":\\"{REDACTED}\\"}}"}}'),
        ("password=hunter2&user=jane", f"password={REDACTED}&user=jane"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {REDACTED}"),
        ("use Basic dXNlcjpwYXNz now", f"use Basic {REDACTED} now"),
        ("TOKEN = 'a b' then c", f"TOKEN = {REDACTED} then c"),
        ("my tokenizer works", "my tokenizer works"),
        (None, ""),
        (0, "0"),
    ],
)  # fmt: skip
def test_values_with_a_secret_name_are_redacted(content: Any, shown: str) -> None:
    """In JSON, in JSON within a text, in forms and in prose; all else is unchanged, on one line."""
    assert redacted_content({"content": content}, 200, Redaction()) == shown


def test_binary_and_missing_contents_are_empty() -> None:
    """Base64 is not readable."""
    assert redacted_content({"content": "aGk=", "contentEncoding": "base64"}, 100, Redaction()) == ""
    assert redacted_content({}, 100, Redaction()) == ""


@given(ANY_JSON, st.integers(1, 60))
def test_content_is_one_short_printable_line_without_the_secret(value: Any, limit: int) -> None:
    """Wherever the cut falls, in whatever shape the secret comes."""
    secret = "s3cr3t-v4lue"
    for content in (
        {"k": value, "password": secret},
        [{"x": {"Session-Cookie": [secret, value]}}],
        f'{{"token":"{secret}',
    ):
        line = redacted_content({"content": content}, limit, Redaction())
        assert len(line) <= limit
        assert line.isprintable()
        assert secret[:5] not in line


@pytest.mark.parametrize("part", ["a", "token", '"', "password:", "secret-", "\\", "token='", "[", '{"a":'])
def test_a_hostile_content_costs_little(part: str) -> None:
    """The largest message that ingest accepts, made for catastrophic backtracking; it ends, and the result is short."""
    assert len(redacted_content({"content": part * (262_144 // len(part))}, 8_192, Redaction())) <= 8_192


def test_what_the_route_redacts_is_never_logged() -> None:
    """Before the cut, so that no part of it is seen."""
    body = {"content": {"note": "n" * 150, "card": "4111-1111"}}
    line = redacted_content(body, 200, Redaction(("/card",)))
    assert line.endswith('"card":"REDACTED"}')
    assert redacted_content({"content": "card=4111-1111"}, 100, Redaction(("/card",))) == "REDACTED"
