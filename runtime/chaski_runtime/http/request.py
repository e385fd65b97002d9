"""Requests as bytes, and where they are sent."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from yarl import URL

Headers = Sequence[tuple[str, str]]
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    tls: bool
    headers: Headers  # its credentials


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The endpoint of connections."""

    host: str  # a name, or an address without brackets
    port: int
    tls: bool
    authority: str  # value of the Host header
    proxy: Proxy | None = None

    @property
    def forwarding(self) -> Proxy | None:
        """The proxy that gets the requests themselves; with TLS it gets none, but opens a tunnel."""
        return None if self.tls else self.proxy


def origin_of(scheme: str, host: str, port: int, proxy: URL | None = None) -> Origin:
    """The endpoint for a URL; the host without brackets.

    Raises:
        ValueError: the proxy's URL has no host, or is not http(s).
    """
    written = f"[{host}]" if ":" in host else host
    # The dot of a full name included: RFC 9112 §3.2 wants the authority as in the URL.
    authority = written if port == _PORTS[scheme] else f"{written}:{port}"
    return Origin(host, port, scheme == "https", authority, None if proxy is None else _proxy_of(proxy))


def _proxy_of(url: URL) -> Proxy:
    if url.scheme not in _PORTS or url.raw_host is None or url.port is None:
        raise ValueError("the proxy's URL is not an HTTP URL")
    headers: Headers = ()
    if url.user is not None:
        credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
        headers = (("Proxy-Authorization", f"Basic {credentials}"),)
    return Proxy(url.raw_host, url.port, url.scheme == "https", headers)


def request_head(start: str, headers: Headers, length: int | None) -> bytes:
    """Request line and headers.

    Args:
        start: method and target.
        headers: names and values, the Host header among them.
        length: of the body; None: no Content-Length.

    Raises:
        ValueError: one of them contains a line break or a NUL, or is not ASCII.
    """
    lines = [f"{start} HTTP/1.1", *[f"{name}: {value}" for name, value in headers]]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    text = "".join(lines)
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a line of the request contains a line break or a NUL")
    return "\r\n".join([*lines, "", ""]).encode("ascii")
