"""URL policy: only URLs that an allow rule of the route covers may be called. A refusal is a value.

`Guard.check` returns one parsed URL, and that object is sent: no second parser can disagree with it. The address of a
name is judged at connect time (`addresses.py`).
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from chaski_core.message.path_ambiguity import ambiguity
from chaski_core.message.target_url import TargetUrl, UrlFault, is_address, parse_url
from chaski_core.route.model import AllowRule

NO_TARGET = "none"  # the name of the target of a URL that no rule covers, in metrics and logs
_CACHED_URLS = 1_024  # of at most 2,048 characters: bounded, and most subjects call few


class RefusalReason(StrEnum):
    """Values of the label `reason` of `chaski_guard_refusals_total`."""

    MALFORMED = "malformed"  # the URL or the request can't be sent
    SCHEME = "scheme"
    USERINFO = "userinfo"
    FRAGMENT = "fragment"
    HOST = "host"
    PORT = "port"
    PATH = "path"
    METHOD = "method"
    HEADER = "header"
    LOOPBACK = "loopback"  # this and the following: the address of the host
    METADATA = "metadata"  # link-local, or a cloud's metadata or credentials service
    PRIVATE = "private"  # the rule's `cidrs` don't cover it
    EMBEDDED = "embedded-ipv4"  # IPv6 that a translator maps to an IPv4 address
    RESERVED = "reserved"  # multicast, documentation, unspecified: not addresses of hosts
    OWN = "own"  # the API server, or this very Pod


@dataclass(frozen=True, slots=True)
class Refusal:
    """No request is made; `detail` is one line, without query strings and header values."""

    reason: RefusalReason
    detail: str

    @classmethod
    def of(cls, fault: UrlFault) -> "Refusal":
        """For a URL that can't be parsed."""
        return cls(RefusalReason(fault.part.value), f"the URL {fault.detail}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the rule that allows it, and the URL as it was judged."""

    rule: AllowRule
    url: TargetUrl
    host: str = field(init=False)  # `name:port`, as dialled: the same for all paths and for both spellings of a name

    def __post_init__(self) -> None:
        name = f"[{self.url.name}]" if ":" in self.url.name else self.url.name
        object.__setattr__(self, "host", f"{name}:{self.url.port}")  # computed once, since judgements are cached


class Guard:
    """The allow-list of one route.

    The first rule that covers a URL wins, and names the target. No rules, no targets.

    Args:
        rules: what the route allows.
        denied_hosts: names that no rule opens.

    Raises:
        ValueError: a rule's URL is invalid.
    """

    def __init__(self, rules: Sequence[AllowRule], denied_hosts: Collection[str] = ()) -> None:
        self._rules = tuple(_CompiledRule.of(rule) for rule in rules)
        self._denied = frozenset(denied_hosts)
        #: Whether a URL may be called.
        self.check: Callable[[str], Target | Refusal] = functools.lru_cache(_CACHED_URLS)(self._judge)

    def _judge(self, text: str) -> Target | Refusal:
        url = parse_url(text)
        if isinstance(url, UrlFault):
            return Refusal.of(url)
        if url.name in self._denied:
            return Refusal(RefusalReason.OWN, f"{url.name} is the API server, which no rule opens")
        mismatches = []
        for rule in self._rules:
            mismatch = rule.mismatch(url)
            if mismatch is None:
                return Target(rule.rule, url)
            mismatches.append(mismatch)
        return _closest(mismatches, url)


def may_have_several_hosts(rules: Sequence[AllowRule]) -> bool:
    """Whether rules allow more than one host: by a suffix, or since they name different hosts or ports."""
    compiled = [_CompiledRule.of(rule) for rule in rules]
    return any(rule.any_label_before for rule in compiled) or len({(rule.host, rule.port) for rule in compiled}) > 1


def api_server_hosts(environment: Mapping[str, str]) -> frozenset[str]:
    """The names of the cluster's API server. Its address is refused as well, at connect time."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "").strip().lower().removesuffix(".")  # on some clouds a name
    return _API_SERVER_NAMES | ({host} if host and not is_address(host) else frozenset())


_API_SERVER_NAMES = frozenset(
    {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
)


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    rule: AllowRule
    scheme: str
    host: str  # without the `*.` of a suffix rule
    any_label_before: bool
    port: int
    segments: tuple[bytes, ...]  # of the path prefix

    @classmethod
    def of(cls, rule: AllowRule) -> "_CompiledRule":
        scheme, sep, rest = rule.url.partition("://")
        suffix = rest.startswith("*.")
        url = parse_url(scheme + sep + rest.removeprefix("*."))
        if isinstance(url, UrlFault):
            raise ValueError(f'targets.allow "{rule.name}": the URL {url.detail}')  # noqa: TRY004 - a value, not a type
        if url.query is not None or ambiguity(url.path) is not None:
            raise ValueError(f'targets.allow "{rule.name}": a rule has a plain path prefix and no query')
        if suffix and is_address(url.host):
            raise ValueError(f'targets.allow "{rule.name}": an address has no subdomains')
        return cls(rule, url.scheme, url.name, suffix, url.port, _segments(url.path.rstrip("/")))

    def mismatch(self, url: TargetUrl) -> RefusalReason | None:
        """The first part of the URL that this rule does not cover, or None."""
        if not self._covers_host(url.name):
            return RefusalReason.HOST
        if url.scheme != self.scheme:
            return RefusalReason.SCHEME
        if url.port != self.port:
            return RefusalReason.PORT
        return None if self._covers_path(url.path) else RefusalReason.PATH

    def _covers_host(self, host: str) -> bool:
        if not self.any_label_before:
            return host == self.host
        return host.endswith("." + self.host) and not is_address(host)

    def _covers_path(self, path: str) -> bool:
        if not self.segments:
            return True
        # Where the prefix matters, a path that servers interpret differently could lead out of it.
        return ambiguity(path) is None and _segments(path)[: len(self.segments)] == self.segments


def _segments(path: str) -> tuple[bytes, ...]:
    return tuple(unquote_to_bytes(segment) for segment in path.split("/")[1:])


_ORDER = (RefusalReason.PATH, RefusalReason.PORT, RefusalReason.SCHEME, RefusalReason.HOST)  # closest first


def _closest(mismatches: Sequence[RefusalReason], url: TargetUrl) -> Refusal:
    reason = next((reason for reason in _ORDER if reason in mismatches), RefusalReason.HOST)
    host = url.name
    ambiguous = ambiguity(url.path) if reason is RefusalReason.PATH else None
    if ambiguous is not None:
        detail = (
            f"the path has {ambiguous}, which servers read in different ways; no rule with a path of {host} covers it"
        )
        return Refusal(reason, detail)
    details = {
        RefusalReason.HOST: f"no allow rule covers the host {host}",
        RefusalReason.SCHEME: f"no allow rule covers {url.scheme}:// on {host}",
        RefusalReason.PORT: f"no allow rule covers port {url.port} of {host}",
        RefusalReason.PATH: f"no allow rule covers this path of {host}",
    }
    return Refusal(reason, details[reason])
