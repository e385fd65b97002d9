"""The URL of a message, parsed strictly: by ingest before a message is accepted, and by the worker before it is dialled.

Anything that parsers are known to read in different ways is refused: backslashes, spaces and control characters, user
names, fragments, numbers that resemble addresses, characters that fold into others. Path and query keep the producer's
own spelling, because a target may have signed those bytes. Grammar: RFC 3986, hosts as in RFC 1123
with underscores, other letters by IDNA.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from yarl import URL

MAX_URL_CHARACTERS = 2_048

_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65_535
_MAX_HOST_CHARACTERS = 253
_USUAL = re.compile(  # nearly all URLs: nothing needs encoding; `_parse_any` gives the same result
    r"(https?)://([a-z0-9._:-]{1,260})([/?][!$-;=?-Z_a-z~]*)?"
)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]|\s")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{0,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\.?")  # the URL Standard, "ends in a number checker"
_FOREIGN = re.compile(r"[^!$%&'()*+,/:;=?@\[\]A-Za-z0-9._~-]+")  # RFC 3986 §2: characters that a URL must encode


class UrlPart(StrEnum):
    """The invalid part of a URL."""

    MALFORMED = "malformed"  # no one part
    SCHEME = "scheme"
    USERINFO = "userinfo"
    FRAGMENT = "fragment"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class UrlFault:
    """Why a text is not a target's URL; `detail` continues "the URL", and repeats neither path nor password."""

    part: UrlPart
    detail: str


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """An absolute http(s) URL."""

    scheme: str  # "http" | "https"
    host: str  # a name in lower-case ASCII, with its final dot if any, or an address without brackets
    port: int
    path: str  # starts with a slash; as written, but with characters encoded that a URL must encode
    query: str | None = None  # like `path`; None if the URL has no question mark

    @property
    def name(self) -> str:
        """The host as rules compare it: without a final dot."""
        return self.host.removesuffix(".")

    @property
    def target(self) -> str:
        """The request target in origin form (RFC 9112 section 3.2.1)."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def authority(self) -> str:
        """The Host header (RFC 9112 section 3.2): host, and the port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`https://host:port` only: paths and queries may contain secrets."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def parse_url(text: str) -> TargetUrl | UrlFault:
    """The URL of a text, or its fault. The default port is the scheme's."""
    if len(text) <= MAX_URL_CHARACTERS and (usual := _USUAL.fullmatch(text)):
        scheme, authority, rest = usual.groups()
        return _joined(scheme, authority, rest or "/")
    return _parse_any(text)


def url_fault(text: str) -> UrlFault | None:
    """The fault of a URL, as by `parse_url`; None for a valid one."""
    if len(text) <= MAX_URL_CHARACTERS and (usual := _USUAL.fullmatch(text)):
        result: object = _origin(usual[1], usual[2])
    else:
        result = _parse_any(text)
    return result if isinstance(result, UrlFault) else None


def _parse_any(text: str) -> TargetUrl | UrlFault:
    if fault := _text_fault(text):
        return fault
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme or not scheme.isascii():
        return _malformed("is not absolute: it starts with neither https:// nor http://")
    if scheme.lower() not in _PORTS:
        return UrlFault(UrlPart.SCHEME, "is not absolute: it starts with neither https:// nor http://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    return _joined(scheme.lower(), authority, _FOREIGN.sub(_encoded, rest[len(authority) :]))


def _text_fault(text: str) -> UrlFault | None:
    if not text:
        return _malformed("is empty")
    if len(text) > MAX_URL_CHARACTERS:
        return _malformed(f"has {len(text)} characters; {MAX_URL_CHARACTERS} are allowed")
    if unsafe := _UNSAFE.search(text):
        return _malformed(f"contains {unsafe.group()!a} at position {unsafe.start()}; write it percent-encoded")
    if "#" in text:
        return UrlFault(UrlPart.FRAGMENT, 'has a fragment (after "#"), which is not part of a request; leave it out')
    return None


def _encoded(match: re.Match[str]) -> str:
    return quote(match.group())


def _joined(scheme: str, authority: str, rest: str) -> TargetUrl | UrlFault:
    origin = _origin(scheme, authority)
    if isinstance(origin, UrlFault):
        return origin
    host, port = origin
    path, mark, query = rest.partition("?")
    return TargetUrl(scheme, host, port, path or "/", query if mark else None)


@functools.lru_cache(1_024)  # of at most 2,048 characters each
def _origin(scheme: str, authority: str) -> tuple[str, int] | UrlFault:
    if "@" in authority:
        return UrlFault(UrlPart.USERINFO, "contains a user name or password; send an Authorization header instead")
    if not authority:
        return _malformed("has no host")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or "%" in authority:
        return _malformed("has a host and port that can't be parsed")
    port = int(match["port"] or _PORTS[scheme])
    if not 0 < port <= _MAX_PORT:
        return _malformed(f"has port {port}, which is not between 1 and {_MAX_PORT}" if port else _PORT_0)
    host = _host(match["host"])
    return host if isinstance(host, UrlFault) else (host, port)


_PORT_0 = f"has port 0, which is not between 1 and {_MAX_PORT}"


def _host(written: str) -> str | UrlFault:
    if written.startswith("["):
        try:
            return str(ipaddress.IPv6Address(written[1:-1]))
        except ValueError:
            return _malformed("has an address in brackets that can't be parsed")
    if len(written) > _MAX_HOST_CHARACTERS + 1:
        return UrlFault(UrlPart.HOST, f"has a host of more than {_MAX_HOST_CHARACTERS} characters")
    host = written.lower() if written.isascii() else _idna(written)
    if host is None:
        return _malformed("has a host that can't be written in ASCII (IDNA)")
    if not _is_host(host):
        return UrlFault(UrlPart.HOST, "has a host that is neither a host name nor an address in plain notation")
    return host


def _idna(written: str) -> str | None:
    """The ASCII form of a host name; "" where IDNA folds a character into an ASCII one (①②⑦.⓪.⓪.①)."""
    try:
        host = URL.build(scheme="http", host=written).raw_host or ""
    except ValueError:
        return None
    encoded, given = host.split("."), written.split(".")
    unfolded = len(encoded) == len(given) and all(
        label == text.lower() if text.isascii() else label.startswith("xn--")
        for label, text in zip(encoded, given, strict=True)
    )
    return host if unfolded else ""


def _is_host(host: str) -> bool:
    if is_address(host):
        return True
    if len(host) > _MAX_HOST_CHARACTERS or not _NAME.fullmatch(host):
        return False
    return not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2])


def _malformed(detail: str) -> UrlFault:
    return UrlFault(UrlPart.MALFORMED, detail)


@functools.lru_cache(1_024)
def is_address(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host can only mean this machine."""
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host == "localhost"


def host_name(header: str) -> str:
    """The host in a `Host` header, without its port; "" where it is not one."""
    url = parse_url(f"http://{header}")
    return url.host if isinstance(url, TargetUrl) and url.path == "/" and url.query is None else ""
