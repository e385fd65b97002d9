"""What a log line may show of a message's content."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_worker.observability.content import STRUCK_OUT, shown_content

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
        ({"a": {"password": "hunter2", "b": ["c"]}}, f'{{"a":{{"password":"{STRUCK_OUT}","b":["c"]}}}}'),
        ({"apiKeys": ["one", "two"]}, f'{{"apiKeys":"{STRUCK_OUT}"}}'),
        ({"access_token": 12345}, f'{{"access_token":"{STRUCK_OUT}"}}'),
        ('{"client_secret": "x\\"y", "a": 1}', f'{{"client_secret":"{STRUCK_OUT}","a":1}}'),
        ({"note": '{"pin": 1, "passphrase": "s"}'}, f'{{"note":"{{\\"pin\\":1,\\"passphrase\\":\\"{STRUCK_OUT}\\"}}"}}'),
        ("password=hunter2&user=jane", f"password={STRUCK_OUT}&user=jane"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {STRUCK_OUT}"),
        ("use Basic dXNlcjpwYXNz now", f"use Basic {STRUCK_OUT} now"),
        ("TOKEN = 'a b' then c", f"TOKEN = {STRUCK_OUT} then c"),
        ("my tokenizer works", "my tokenizer works"),
        (None, ""),
        (0, "0"),
    ],
)  # fmt: skip
def test_what_names_itself_a_secret_is_struck_out(content: Any, shown: str) -> None:
    """In JSON, in JSON within a text, in forms and in prose; all else is as it was, on one line."""
    assert shown_content({"content": content}, 200) == shown


def test_bytes_and_messages_without_content_show_nothing() -> None:
    """Base64 tells nobody anything."""
    assert shown_content({"content": "aGk=", "contentEncoding": "base64"}, 100) == ""
    assert shown_content({}, 100) == ""


@given(ANY_JSON, st.integers(1, 60))
def test_it_is_one_short_printable_line_and_never_the_secret(value: Any, limit: int) -> None:
    """Wherever the cut falls, in whatever shape the secret comes."""
    secret = "s3cr3t-v4lue"
    for content in (
        {"k": value, "password": secret},
        [{"x": {"Session-Cookie": [secret, value]}}],
        f'{{"token":"{secret}',
    ):
        line = shown_content({"content": content}, limit)
        assert len(line) <= limit
        assert line.isprintable()
        assert secret[:5] not in line


@pytest.mark.parametrize("part", ["a", "token", '"', "password:", "secret-", "\\", "token='", "[", '{"a":'])
def test_a_hostile_content_costs_little(part: str) -> None:
    """The largest message that ingest takes, made to send the search back and forth; it ends, and is short."""
    assert len(shown_content({"content": part * (262_144 // len(part))}, 8_192)) <= 8_192
