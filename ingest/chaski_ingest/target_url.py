"""Whether a message's URL is one at all. Whether the route allows it is judged where it would be dialled."""

import re
from urllib.parse import SplitResult, urlsplit

MAX_URL_CHARACTERS = 2_048

_USUAL = re.compile(  # what nearly every URL looks like; of the others `_find_fault` says what is wrong
    r"https?://[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?(?:[/?][!$-;=?-Z_a-z~]*)?\Z"
)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\]|\s")


def url_fault(url: str) -> str | None:
    """What is wrong with a URL; None where nothing is."""
    if len(url) <= MAX_URL_CHARACTERS and _USUAL.match(url):
        return None
    return _find_fault(url)


def _find_fault(url: str) -> str | None:
    if not url:
        return "is empty"
    if len(url) > MAX_URL_CHARACTERS:
        return f"has {len(url)} characters; {MAX_URL_CHARACTERS} are allowed"
    if unsafe := _UNSAFE.search(url):
        return f"holds {unsafe.group()!a} at position {unsafe.start()}; write it percent-encoded"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"can't be parsed: {error}"
    return _part_fault(url, parts, port)


def _part_fault(url: str, parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme not in {"http", "https"} or "://" not in url[:8]:
        return f"{url[:80]!a} is not absolute: it starts with neither https:// nor http://"
    if "@" in parts.netloc:
        return "holds a user name or password; send an Authorization header instead"
    if not parts.hostname:
        return "names no host"
    if port == 0:
        return "has port 0; there are 1 to 65535"
    return None
