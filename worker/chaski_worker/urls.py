"""A message's URL, parsed once and strictly.

Everything that parsers are known to read in different ways is refused: backslashes, spaces and control characters,
user names, fragments, numbers that only look like addresses, characters that fold into others. What is left keeps the
producer's own spelling of path and query: yarl's requoting would change bytes that a target may have signed.
"""

import functools
import ipaddress
import re
from urllib.parse import quote

from yarl import URL

from chaski_worker.refusal import Refusal, RefusalReason

MAX_URL_CHARACTERS = 2_048

_SCHEMES = frozenset({"http", "https"})
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]|\s")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:(?P<port>[0-9]{0,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_MAX_NAME_CHARACTERS = 253
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\.?")  # the URL Standard, "ends in a number checker"
_FOREIGN = re.compile(r"[^!$%&'()*+,/:;=?@\[\]A-Za-z0-9._~-]+")  # RFC 3986 §2: a URL can't carry these as they are
_ENCODED_SEPARATOR = re.compile(r"%(?:25)*(?:2e|2f|5c)", re.IGNORECASE)
_DOT_SEGMENT = re.compile(r"/\.\.?(?:[/;]|$)")


def parse(text: str) -> URL | Refusal:
    """The URL of a text that is an absolute http(s) URL, host in lower case and ASCII, path and query as given."""
    if not text or len(text) > MAX_URL_CHARACTERS:
        return _malformed(f"the URL has {len(text)} characters; 1 to {MAX_URL_CHARACTERS} are allowed")
    if _UNSAFE.search(text):
        return _malformed("the URL holds a space, a control character or a backslash")
    if "#" in text:
        return Refusal(RefusalReason.FRAGMENT, "the URL has a fragment, which can't be sent")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _malformed("the URL is not of the form https://host/path")
    if scheme.lower() not in _SCHEMES:
        return Refusal(RefusalReason.SCHEME, "the URL's scheme is neither http nor https")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    origin = _origin(scheme.lower(), authority)
    return origin if isinstance(origin, Refusal) else _joined(origin, rest[len(authority) :])


def _origin(scheme: str, authority: str) -> URL | Refusal:
    if "@" in authority:
        return Refusal(RefusalReason.USERINFO, "the URL holds a user name or password")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or "%" in authority:
        return _malformed("the URL's host and port can't be read")
    try:
        origin = URL(f"{scheme}://{authority}")
        host = origin.raw_host or ""
    except ValueError:  # port beyond 65535, an address in brackets that is none, a name that IDNA can't encode
        return _malformed("the URL's host and port can't be read")
    if match["port"] and int(match["port"]) == 0:
        return _malformed("the URL's port is 0")
    if not _is_host(host, match["host"]):
        return Refusal(RefusalReason.HOST, "the URL's host is neither a host name nor a plainly written address")
    return origin


def _is_host(host: str, written: str) -> bool:
    if not written.isascii() and not _is_spelled_plainly(host, written):
        return False
    if is_address(host):
        return True
    if len(host) > _MAX_NAME_CHARACTERS or not _NAME.fullmatch(host):
        return False
    return not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2])


def _is_spelled_plainly(host: str, written: str) -> bool:
    """Whether IDNA has encoded every label in other letters, and folded none into plain ones (①②⑦.⓪.⓪.①)."""
    judged, given = host.split("."), written.split(".")
    return len(judged) == len(given) and all(
        label == text.lower() if text.isascii() else label.startswith("xn--")
        for label, text in zip(judged, given, strict=True)
    )


def _joined(origin: URL, rest: str) -> URL | Refusal:
    path = rest if rest.startswith("/") else "/" + rest
    path = _FOREIGN.sub(lambda match: quote(match.group()), path)
    host = origin.raw_host or ""
    netloc = f"[{host}]" if ":" in host else host
    port = "" if origin.is_default_port() else f":{origin.port}"
    url = URL(f"{origin.scheme}://{netloc}{port}{path}", encoded=True)
    if (url.scheme, url.raw_host, url.port) != (origin.scheme, origin.raw_host, origin.port):
        return _malformed("the URL reads in two ways")
    return url


def _malformed(detail: str) -> Refusal:
    return Refusal(RefusalReason.MALFORMED, detail)


def host_name(url: URL) -> str:
    """The host as rules compare it: lower case, without the dot that may end a full name."""
    return (url.raw_host or "").removesuffix(".")


@functools.lru_cache(1_024)
def is_address(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_ambiguous_path(path: str) -> bool:
    """Whether servers may take a path for another: dot segments, encoded slashes, backslashes or dots."""
    return _ENCODED_SEPARATOR.search(path) is not None or _DOT_SEGMENT.search(path) is not None
