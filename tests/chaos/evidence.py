"""What a run recorded: requests through the gates, the lives of routes, and the end state. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from chaos.plan import Key

FINALIZER = "chaski.dev/finalizer"
_AWS_READS = ("Get", "List", "Describe")


@dataclass(slots=True, kw_only=True)
class Call:
    """One request of an operator; times are monotonic seconds."""

    by: str  # identity of the operator
    at: float  # when it arrived at the gate
    method: str = "POST"
    namespace: str = ""
    plural: str = ""  # of Kubernetes; empty for AWS
    name: str = ""  # of the object; for AWS of the queue or table
    part: str = ""  # subresource
    operation: str = ""  # of AWS
    query: str = ""
    owner: str = ""  # uid of the ChaskiRoute that controls the object that is written
    sent: Mapping[str, Any] = field(default_factory=dict)  # body of a call of AWS
    done: float | None = None  # when the service had answered; None: it did not, or it was not asked
    answered: float | None = None  # when the whole answer was passed on
    status: int = 0
    version: int = 0  # resourceVersion in the answer
    uid: str = ""  # in the answer
    holder: str = ""  # of a Lease, in the answer
    treatment: str = ""  # the fault that was injected

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        if self.operation:
            return not self.operation.startswith(_AWS_READS)
        return self.method != "GET"

    @property
    def is_lease(self) -> bool:
        """Whether it belongs to the election of the leader."""
        return self.plural == "leases"

    @property
    def succeeded(self) -> bool:
        """Whether the service executed it."""
        return self.done is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        place = "/".join(each for each in (self.namespace, self.plural, self.name, self.part) if each)
        treatment = f" [{self.treatment}]" if self.treatment else ""
        holder = f", held by {self.holder or 'no operator'}" if self.is_lease and self.writes and self.succeeded else ""
        return f"{self.by}: {self.operation or self.method} {place} -> {self.status or 'no answer'}{holder}{treatment}"


@dataclass(slots=True)
class Life:
    """One route from its creation to its deletion; a later route of the same name is another life."""

    key: Key
    uid: str = ""
    versions: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)  # when sent; its spec
    delete_sent: float | None = None
    finalized: bool = False  # it had the operator's finalizer when it was deleted, so the operator deletes its data
    gone: float | None = None  # when it was first seen deleted

    @property
    def began(self) -> float:
        """When it was first sent."""
        return self.versions[0][0]

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its last spec."""
        return self.versions[-1][1]

    @property
    def deletes_data(self) -> bool:
        """Whether nothing of it may be left on AWS."""
        return self.delete_sent is not None and self.finalized and self.spec["deletionPolicy"] == "Delete"

    def specs(self, begin: float, end: float) -> list[Mapping[str, Any]]:
        """The specs that were in force between two times, the one before included."""
        before = [spec for at, spec in self.versions if at <= begin][-1:]
        return before + [spec for at, spec in self.versions if begin < at <= end]

    def wants(self, at: float) -> bool:
        """Whether it existed at that time, or may have."""
        return self.began <= at and (self.gone is None or at <= self.gone)


@dataclass(slots=True)
class EndState:
    """What exists at the end, as text for comparisons."""

    routes: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)  # live documents
    objects: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)  # route -> `kind name` -> normalised
    strays: Sequence[str] = ()  # objects whose owner does not exist
    aws: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)  # route by tags -> queue or table -> normalised


@dataclass
class Evidence:
    """All that the judge needs."""

    calls: list[Call]
    lives: list[Life]
    state: EndState = field(default_factory=EndState)
    control: EndState = field(default_factory=EndState)
    foreign: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})  # before and after: name -> JSON
    unsettled: Mapping[str, str] = field(default_factory=dict)  # route -> why it was not settled in time
    exits: list[str] = field(default_factory=list)
    disturbances: list[tuple[str, float, float]] = field(default_factory=list)  # name, begin, end
    faults_ended: float = 0.0
    settled: float = 0.0
    ended: float = 0.0  # of the quiet time after it
    zero: float = 0.0
    longest_stall: float = 0.0  # seconds for which the recording process itself did not run
    operators: Sequence[str] = ()  # their identities
    others: Collection[tuple[str, str, str]] = ()  # namespace, plural and name of the objects of others
    other_names: Collection[str] = ()  # of the queues and tables of others
    namespaces: Collection[str] = ()  # in which the operators may write

    @cached_property
    def by_key(self) -> Mapping[Key, list[Life]]:
        """The lives of each name, in order."""
        found: dict[Key, list[Life]] = {}
        for life in self.lives:
            found.setdefault(life.key, []).append(life)
        return found


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    kind: str
    what: str
    text: str
    lines: Sequence[str] = ()


def timeline(evidence: Evidence, calls: Sequence[Call], life: Life | None = None) -> tuple[str, ...]:
    """Lines for people: the given calls, the life's steps and the faults between them."""
    events = [(each.at, str(each)) for each in calls]
    if life is not None:
        events += [(at, f"applied: {dict(spec)}") for at, spec in life.versions]
        events += [(life.delete_sent, "deleted")] if life.delete_sent else []
        events += [(life.gone, "seen deleted")] if life.gone else []
    if events:
        first, last = min(at for at, _ in events), max(at for at, _ in events)
        events += [
            (begin, f"[{name} until {end - evidence.zero:.1f}]")
            for name, begin, end in evidence.disturbances
            if begin <= last and end >= first - 10
        ]
    return tuple(f"{at - evidence.zero:8.2f} {text}" for at, text in sorted(events))
