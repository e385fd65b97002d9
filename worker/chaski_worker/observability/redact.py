"""What of a request and its answer may be shown to people: no query strings, no paths, no control characters."""

from yarl import URL

EXCERPT_CHARACTERS = 1_000
_ENCODINGS = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})


def shown_origin(url: URL) -> str:
    """`https://host:port` and nothing more: paths may hold secrets as well as query strings do."""
    port = "" if url.is_default_port() or url.port is None else f":{url.port}"
    return f"{url.scheme}://{url.host_subcomponent}{port}"


def one_line(text: str, limit: int) -> str:
    """A text with every character that does not print removed, white space made one space, cut at `limit`."""
    if not text.isprintable():
        text = "".join(" " if char.isspace() else char if char.isprintable() else "" for char in text)
    return " ".join(text.split())[:limit]


def excerpt(data: bytes, content_encoding: str | None = None) -> str:
    """The beginning of an answer's body as one line of at most 1,000 characters; never decompressed."""
    if not data:
        return ""
    if content_encoding and content_encoding.lower() != "identity":
        named = content_encoding.strip().lower()  # a header's value is shown where it is one of the known words
        return f"[{named if named in _ENCODINGS else 'encoded'}, not decompressed]"
    return one_line(data[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace"), EXCERPT_CHARACTERS)
