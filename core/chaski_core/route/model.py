"""A ChaskiRoute as values, built only from a valid document (`loading.py`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chaski_core.message.subject import matches_any
from chaski_core.message.target_url import TargetUrl, parse_url
from chaski_core.redaction import NOTHING, Redaction
from chaski_core.retry.breaker import BreakerRule
from chaski_core.retry.limit import LimitRule
from chaski_core.retry.policy import RetryPolicy

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"  # of DNS (RFC 1123): a namespace, and the name of a route, which has no dots
_KEY = re.compile(rf"{_LABEL}/{_LABEL}\Z")


def is_route_key(text: str) -> bool:
    """Whether a text has the form `namespace/name` of a route's key."""
    return _KEY.match(text) is not None


class Ordering(StrEnum):
    """The effect of a failing message on the later ones of its subject."""

    RELAXED = "Relaxed"  # it moves to a rung; the later ones are attempted
    STRICT = "Strict"  # it stays at the head; the later ones wait


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A named queue: of the subjects that match one of its patterns, or, without patterns, that match no other queue."""

    name: str
    partitions: int
    subjects: tuple[str, ...] = ()

    def accepts(self, subject: str) -> bool:
        """Whether a subject matches this queue, regardless of other queues."""
        return not self.subjects or matches_any(self.subjects, subject)


class SigningScheme(StrEnum):
    """The signatures of Standard Webhooks 1.0.0, by their identifiers."""

    V1 = "v1"  # HMAC-SHA256: target and sender have the same key
    V1A = "v1a"  # ed25519: the target has only the public key


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs requests with the keys of a Secret."""

    secret_name: str
    scheme: SigningScheme = SigningScheme.V1


@dataclass(frozen=True, slots=True)
class HeaderSecret:
    """A header whose value is in a Secret."""

    name: str
    secret_name: str
    key: str


class ClientAuthentication(StrEnum):
    """How a client authenticates itself at a token endpoint (RFC 6749 §2.3.1)."""

    BASIC = "Basic"  # in the Authorization header
    POST = "Post"  # in the body


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Client credentials (RFC 6749 §4.4)."""

    token_url: str
    secret_name: str  # keys `client-id` and `client-secret`
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC
    cidrs: tuple[str, ...] = ()  # private ranges that the token endpoint may be in
    ca_bundle: str | None = None  # PEM; None: the system's authorities


@dataclass(frozen=True, slots=True)
class ServiceAccountToken:
    """A token of the workers' ServiceAccount, which the kubelet renews."""

    audience: str
    expiration_seconds: int = 3_600


@dataclass(frozen=True, slots=True)
class AwsSigV4:
    """AWS Signature Version 4 with the credentials of the worker's Pod."""

    service: str
    region: str


Auth = tuple[HeaderSecret, ...] | OAuth2 | ServiceAccountToken | AwsSigV4
"""The credentials of the requests under a rule."""


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One allowed target: scheme, host or `*.suffix`, port and path prefix are all in `url`."""

    name: str
    url: str
    cidrs: tuple[str, ...] = ()
    ca_bundle: str | None = None
    client_cert_secret_name: str | None = None
    signing: Signing | None = None  # None: the route's
    auth: Auth | None = None
    suspend: bool = False  # nothing is attempted; its messages wait
    breaker: BreakerRule | None = None  # of its hosts; the route's where the rule has none of its own
    limits: LimitRule | None = None  # of all workers together

    def __hash__(self) -> int:
        """Hash of the name, which is unique in a route: every attempt needs it."""
        return hash(self.name)


def rule_host(url: str) -> str:
    """The host of an allow rule in lower case: a name, an address without brackets, or `*.suffix`; "" if it can't be read."""
    wildcard = "*." if "://*." in url else ""
    parsed = parse_url(url.replace("://*.", "://", 1))
    return wildcard + parsed.name if isinstance(parsed, TargetUrl) else ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How attempts are made."""

    timeout_seconds: int = 30
    concurrency_per_pod: int = 64
    max_age_seconds: int | None = None  # older messages become dead letters


@dataclass(frozen=True, slots=True)
class Producer:
    """A producer that may send to the route."""

    namespace: str | None = None
    service_account: str | None = None
    api_key_sha256: tuple[str, ...] = ()
    rate_per_second: int | None = None
    subjects: tuple[str, ...] = ()  # patterns of the subjects that it may send; empty: all


@dataclass(frozen=True, slots=True)
class SubjectGroup:
    """A bounded metric label: capture group 1 of an RE2 pattern in the subject."""

    pattern: str
    max_values: int


@dataclass(frozen=True, slots=True)
class Suspend:
    """Suspended parts of a route; its messages stay in their queues."""

    delivery: bool = False
    ingest: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One ChaskiRoute."""

    namespace: str
    name: str
    ordering: Ordering
    queues: tuple[QueueSpec, ...]
    allow: tuple[AllowRule, ...]
    delivery: Delivery
    retry: RetryPolicy
    retention_days: int
    producers: tuple[Producer, ...]
    subject_group: SubjectGroup | None
    suspend: Suspend
    document: Mapping[str, Any]  # the whole ChaskiRoute with defaults filled in
    signing: Signing | None = None  # of the rules without their own
    redaction: Redaction = NOTHING  # of dead letters and logs
    _default_queue: QueueSpec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_default_queue", next(queue for queue in self.queues if not queue.subjects))

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def breakers(self) -> dict[str, BreakerRule]:
        """The breakers by name of the allow rule; others have none."""
        return {rule.name: rule.breaker for rule in self.allow if rule.breaker is not None}

    @property
    def suspended_targets(self) -> frozenset[str]:
        """Names of the allow rules that the route suspends."""
        return frozenset(rule.name for rule in self.allow if rule.suspend)

    def signing_of(self, rule: AllowRule) -> Signing | None:
        """What signs the requests under a rule; None: nothing."""
        return rule.signing or self.signing

    def queue_for(self, subject: str) -> QueueSpec:
        """The first queue with a matching pattern, else the default queue (the one without patterns)."""
        for queue in self.queues:
            if queue.subjects and queue.accepts(subject):
                return queue
        return self._default_queue
