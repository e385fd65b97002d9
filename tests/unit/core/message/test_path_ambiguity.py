"""Paths that servers read in different ways."""

from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.message.path_ambiguity import TABLE, ambiguity, table_lines
from chaski_core.message.target_url import TargetUrl, parse_url

DOCS = Path(__file__).resolve().parents[4] / "docs"
EXAMPLES = [(example, row.what) for row in TABLE for example in row.examples]
# Of the security review: all were covered by a rule with the path /hooks/.
ESCAPES = [
    *("..%3b/admin", "..%00/admin", "%u002e%u002e/admin", "%%32%65%%32%65/admin", "%c0%ae%c0%ae/admin"),
    *("\uff0e\uff0e/admin", "..%20/admin", "..%09/admin", ".%0a./admin"),
    *("..%ff/admin", "%25u002e%25u002e/admin", "%2525252e/admin", "..%c2%a0/admin", "\u2026/admin", ".../admin"),
    *("..;/admin", "x%E2%88%95..%E2%88%95admin", "%EF%BC%8F../admin", "%c0%2e%c0%2e/admin", "%", "%2", "..%253b/admin"),
    "%25%33%62",
]
PLAIN = [
    *("", "a", "a/b.json", "..a", "a..", "a.b/..c/d", "my%20file", "100%25", "50%25%20off", "%e4", "%C3%A4", "a;b=c"),
    *("%E2%82%AC", "%7Euser", "a%2Bb", "wait%E2%80%A6", "@x:y,z", "%41"),
]


def path_of(rest: str) -> str:
    """The path of a URL as Chaski sends it."""
    url = parse_url(f"https://a.example/hooks/{rest}")
    assert isinstance(url, TargetUrl), url
    return url.path


@pytest.mark.parametrize(("example", "what"), EXAMPLES)
def test_every_example_of_the_table_is_found(example: str, what: str) -> None:
    """As its row describes it."""
    assert ambiguity(path_of(example)) == what


@pytest.mark.promise(6)
@pytest.mark.parametrize("rest", ESCAPES)
def test_a_path_that_a_server_may_read_as_another_one_is_found(rest: str) -> None:
    """Whatever the server's rules for decoding are."""
    assert ambiguity(path_of(rest)) is not None


@pytest.mark.parametrize("rest", PLAIN)
def test_a_plain_path_is_not_ambiguous(rest: str) -> None:
    """Percent signs, spaces, accents and semicolons are usual in paths."""
    assert ambiguity(path_of(rest)) is None


@given(st.text(max_size=30), st.integers(0, 3))
def test_a_path_without_ambiguity_stays_in_its_folder_however_often_it_is_decoded(text: str, times: int) -> None:
    """Also encoded several times."""
    rest = text
    for _ in range(times):
        rest = quote(rest, safe="", errors="replace")
    url = parse_url(f"https://a.example/hooks/{rest}")
    if not isinstance(url, TargetUrl) or ambiguity(url.path) is not None:
        return
    path = url.path.encode()
    for _ in range(6):
        assert not {b"..", b"."} & set(path.replace(b"\\", b"/").replace(b";", b"/").split(b"/"))
        assert path.startswith(b"/hooks/")
        path = unquote_to_bytes(path)


def test_the_documentation_has_the_same_table() -> None:
    """Line for line."""
    assert "\n".join(table_lines()) in (DOCS / "route.md").read_text(encoding="utf-8")
