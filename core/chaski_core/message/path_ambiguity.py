"""Paths that servers read in different ways, by which a message could lead out of the path prefix of an allow rule.

A server may decode a path once, twice, or by rules of its own, and may drop what follows a semicolon or a NUL. Each row of
`TABLE` is a spelling that is known to have had such an effect; `docs/route.md` has the same table.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_MAX_DECODINGS = 4  # a path that has escapes after these is refused
_DOT_SEGMENT = re.compile(rb"/\.\.?(?:[/;]|$)")
_ODD_SEGMENT = re.compile(r"/[. ]+(?:[/;]|$)")
_MEANINGFUL = "/\\;%"
_RESEMBLING = re.compile("[\u2044\u2215\u2216\u29f5\u29f8\u29f9]")  # slashes and backslashes that NFKC keeps


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """One kind of spelling that is refused."""

    what: str  # continues "the path has"
    examples: tuple[str, ...]
    source: str
    found: Callable[[bytes, bytes], bool]  # in a path with escapes, and in the same without


def _escape(pattern: bytes) -> Callable[[bytes, bytes], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda path, _: compiled.search(path) is not None


def _byte(pattern: bytes) -> Callable[[bytes, bytes], bool]:
    compiled = re.compile(pattern)
    return lambda _, decoded: compiled.search(decoded) is not None


def _folds(_: bytes, decoded: bytes) -> bool:
    if decoded.isascii():
        return False
    text = decoded.decode("utf-8", "replace")
    folded = unicodedata.normalize("NFKC", text)
    more = any(folded.count(character) > text.count(character) for character in _MEANINGFUL)
    return more or _RESEMBLING.search(text) is not None or _ODD_SEGMENT.search(folded) is not None


_DOTS = Ambiguity("a dot segment", ("/../", "/..;x/"), "RFC 3986 §5.2.4, CVE-2020-5902", _escape(_DOT_SEGMENT.pattern))
_SPACED_DOTS = Ambiguity(
    "a segment of dots and spaces",
    ("/..%20/", "/.../"),
    "Windows, naming files",
    lambda _, decoded: _ODD_SEGMENT.search(decoded.decode("latin-1")) is not None,
)
_INVALID_ESCAPE = Ambiguity(
    "a % that two hexadecimal digits don't follow",
    ("%zz", "%u002e", "%%32%65"),
    "RFC 3986 §2.1, CVE-2021-34429",
    _escape(rb"%(?![0-9a-f]{2})"),
)
_AT_EACH_DECODING = (
    _DOTS,
    Ambiguity(
        "an encoded dot, slash or backslash",
        ("%2e", "%2f", "%5c", "%252e", "%25%32%65"),
        "RFC 3986 §7.3, CVE-2021-41773",
        _escape(rb"%(?:2e|2f|5c)"),
    ),
    Ambiguity("an encoded semicolon", ("%3b",), "CVE-2020-13933", _escape(rb"%3b")),
    Ambiguity(
        "an encoded control character",
        ("%00", "%0a", "%7f"),
        "RFC 3986 §7.3, CVE-2021-34429",
        _escape(rb"%(?:[01][0-9a-f]|7f)"),
    ),
    Ambiguity("an escape by %u", ("%25u002e",), "CVE-2021-34429", _escape(rb"%u[0-9a-f]{4}")),
    Ambiguity(
        "bytes that are never UTF-8, such as overlong forms",
        ("%c0%ae", "%e0%80%af"),
        "RFC 3629 §3, §10",
        _byte(rb"[\xc0\xc1\xf5-\xff]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]"),
    ),
    Ambiguity(
        "a character that folds into a dot, slash, backslash, semicolon or percent sign",
        ("/\uff0e\uff0e/", "\uff0f", "\u2215"),
        "Unicode UAX #15; Black Hat Europe 2024, WorstFit",
        _folds,
    ),
    _SPACED_DOTS,
)
TABLE: tuple[Ambiguity, ...] = (_INVALID_ESCAPE, *_AT_EACH_DECODING)


def ambiguity(path: str) -> str | None:
    """Why servers may read a path as another one, as a continuation of "the path has"; None for a plain path.

    Args:
        path: of a `TargetUrl`: ASCII, other characters are encoded.
    """
    raw = path.encode()
    if b"%" not in raw:
        if _ODD_SEGMENT.search(path) is None:
            return None
        return _DOTS.what if _DOT_SEGMENT.search(raw) else _SPACED_DOTS.what
    # What is decoded may have a percent sign that is one, so only the path as written is checked for invalid escapes.
    kinds = TABLE
    for _ in range(_MAX_DECODINGS):
        decoded = unquote_to_bytes(raw)
        for kind in kinds:
            if kind.found(raw, decoded):
                return kind.what
        if decoded == raw:
            return None
        raw, kinds = decoded, _AT_EACH_DECODING
    return "escapes of escapes"


def table_lines() -> list[str]:
    """The table as the lines of its Markdown, for the documentation."""
    rows = (f"| {row.what} | {', '.join(f'`{each}`' for each in row.examples)} | {row.source} |" for row in TABLE)
    return ["| the path has | for example | source |", "|---|---|---|", *rows]
