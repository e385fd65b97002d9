"""What people get to see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from chaski_worker.observability.redact import excerpt, one_line, shown_origin


@given(st.text(max_size=200), st.integers(1, 50))
def test_one_line_is_one_printable_line(text: str, limit: int) -> None:
    """Whatever goes in, nothing comes out that could break a log line or a terminal."""
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()


def test_white_space_becomes_one_space_and_controls_go() -> None:
    """A text stays readable; escape sequences don't stay."""
    assert one_line("a\r\n\t b\x1b[31mc\u202ed", 100) == "a b[31mcd"


@pytest.mark.parametrize(
    ("data", "encoding", "shown"),
    [
        (b"", "gzip", ""),
        (b"\x1f\x8b", "gzip", "[gzip, not decompressed]"),
        (b"plain", "identity", "plain"),
        (b"plain", None, "plain"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        ("ü".encode() * 3_000, None, "ü" * 1_000),
    ],
)
def test_an_excerpt_is_short_text_whatever_the_body_is(data: bytes, encoding: str | None, shown: str) -> None:
    """Broken bytes are replaced, compressed ones are left alone."""
    assert excerpt(data, encoding) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@a.example/secret?x=1#y", "https://a.example"),
        ("http://a.example:8080/", "http://a.example:8080"),
        ("http://[::1]:1/", "http://[::1]:1"),
    ],
)
def test_of_a_url_only_its_origin_is_shown(url: str, shown: str) -> None:
    """Paths hold secrets as often as queries do."""
    assert shown_origin(URL(url)) == shown
