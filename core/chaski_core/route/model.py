"""A ChaskiRoute as values, built only from a valid document (`loading.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chaski_core.message.subject import matches_pattern
from chaski_core.retry.breaker import BreakerRule
from chaski_core.retry.policy import RetryPolicy


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
        return not self.subjects or any(matches_pattern(pattern, subject) for pattern in self.subjects)


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One allowed target: scheme, host or `*.suffix`, port and path prefix are all in `url`."""

    name: str
    url: str
    cidrs: tuple[str, ...] = ()
    ca_bundle: str | None = None
    client_cert_secret_name: str | None = None
    suspend: bool = False  # nothing is attempted; its messages wait
    breaker: BreakerRule | None = None  # of its hosts; the route's where the rule has none of its own

    def __hash__(self) -> int:
        """Hash of the name, which is unique in a route: every attempt needs it."""
        return hash(self.name)


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
    signing_secret: str | None = None  # name of the Secret whose keys sign every request
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

    def queue_for(self, subject: str) -> QueueSpec:
        """The first queue with a matching pattern, else the default queue (the one without patterns)."""
        for queue in self.queues:
            if queue.subjects and queue.accepts(subject):
                return queue
        return self._default_queue
