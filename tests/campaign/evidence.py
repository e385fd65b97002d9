"""The recordings of a campaign for the judge, and the parser of the target's file."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from campaign.plan import MAIN, RETRIES, TIMEOUT_SECONDS, Message, behaviour_of, class_of

LATE = 0.9  # share of the timeout: after a slower response the caller may have timed out


@dataclass(frozen=True, slots=True)
class Request:
    """A request recorded by the target; times in seconds of the monotonic clock."""

    at: float
    done: float
    token: str
    attempt: int
    message_id: str  # Chaski-Message-Id
    label: str  # Chaski-Id; empty if the release does not send it
    webhook_id: str
    status: int  # 0: the target failed on purpose without a response; -1: the caller disconnected before the response

    @property
    def delivered(self) -> bool:
        """Whether the response was 2xx."""
        return 200 <= self.status < 300

    @property
    def failed(self) -> bool:
        """Whether the caller may count this as a failure of the target."""
        return not self.delivered or self.done - self.at > TIMEOUT_SECONDS * LATE

    @property
    def error_class(self) -> str:
        """The error class of a failure."""
        if self.status >= 400:
            return f"{self.status // 100}xx"
        if self.status == 0:
            return class_of(behaviour_of(self.token))
        return "timeout" if self.done - self.at > TIMEOUT_SECONDS / 2 else "connection"


@dataclass(slots=True)
class Sending:
    """The producer's record of a message."""

    message: Message
    route: str = MAIN
    began: float = 0.0  # monotonic
    accepted: float | None = None  # time of the first 202
    unclear: int = 0  # number of requests that may or may not have put it on the queue
    answers: list[tuple[str, str]] = field(default_factory=list)  # id and messageId (or "") of each 202
    again: float | None = None  # time of the response to the deliberate repeat
    refused: str = ""

    @property
    def copies(self) -> int:
        """Number of messages with this content that were accepted."""
        if self.accepted is None:
            return 0
        return 2 if self.message.by_two and len(self.answers) > 1 else 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as `chaski dead-letters list` shows it."""

    token: str
    id: str
    message_id: str
    subject: str
    reason: str
    attempts: int
    dead_lettered_at: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A fault in effect, or a stall of the machine; monotonic seconds."""

    name: str
    begin: float
    end: float
    offset: float = 0.0  # of the wall clock that determines stored times

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether it overlaps an interval."""
        return self.begin <= end and begin <= self.end


@dataclass(frozen=True)
class Evidence:
    """All recordings of one campaign."""

    ordering: str
    sendings: Sequence[Sending]
    requests: Sequence[Request]
    dead_letters: Sequence[DeadLetter] = ()
    disturbances: Sequence[Disturbance] = ()
    ended: float = 0.0  # monotonic time at which the stores were read
    zero: float = 0.0  # monotonic time of the start
    wall: float = 0.0  # epoch seconds at zero of the monotonic clock, by a correct clock
    not_listed: Mapping[str, str] = field(default_factory=dict)  # token -> the `--since` that should have listed it
    not_traced: Sequence[str] = ()  # tokens
    exits: Sequence[str] = ()  # descriptions of processes that ended by themselves
    ledger: Mapping[str, Any] | None = None

    @cached_property
    def by_token(self) -> Mapping[str, Sequence[Request]]:
        """Requests by message, in the order of arrival."""
        found: dict[str, list[Request]] = defaultdict(list)
        for each in sorted(self.requests, key=lambda request: request.at):
            found[each.token].append(each)
        return found

    @cached_property
    def sending_of(self) -> Mapping[str, Sending]:
        """Producers' records by message."""
        return {each.message.token: each for each in self.sendings}

    @cached_property
    def dead_letters_of(self) -> Mapping[str, Sequence[DeadLetter]]:
        """Dead letters by message."""
        found: dict[str, list[DeadLetter]] = defaultdict(list)
        for dead_letter in self.dead_letters:
            found[dead_letter.token].append(dead_letter)
        return found

    @cached_property
    def by_subject(self) -> Mapping[str, Sequence[Sending]]:
        """Accepted messages by subject, in the order of acceptance."""
        found: dict[str, list[Sending]] = defaultdict(list)
        for each in sorted(self.sendings, key=lambda sending: sending.message.number):
            if each.accepted is not None:
                found[each.message.subject].append(each)
        return found

    def causes(self, begin: float, end: float) -> list[str]:
        """Names of the disturbances that overlap an interval."""
        return sorted({each.name for each in self.disturbances if each.overlaps(begin, end)})


def retries_of(sending: Sending, error_class: str) -> int:
    """Number of declared retries; the route of waiting messages has no ladder."""
    return RETRIES.get(error_class, 0) if sending.route == MAIN else 0


def read_records(lines: Iterable[str]) -> tuple[list[Request], list[Disturbance]]:
    """Requests from the target's file, and the times at which the target itself was stalled."""
    requests: list[Request] = []
    stalls: list[Disturbance] = []
    for line in lines:
        at, done, *rest = line.rstrip("\n").split("\t")
        if at == "stall":
            stalls.append(Disturbance("stall of the target", float(done), float(rest[0])))
            continue
        token, attempt, message_id, label, webhook_id, status = rest
        requests.append(
            Request(float(at), float(done), token, int(attempt or 0), message_id, label, webhook_id, int(status))
        )
    return requests, stalls


def merged(disturbances: Iterable[Disturbance]) -> list[Disturbance]:
    """Disturbances with those of the same name joined if there is no gap between them."""
    found: dict[str, list[Disturbance]] = defaultdict(list)
    for each in sorted(disturbances, key=lambda disturbance: disturbance.begin):
        before = found[each.name][-1] if found[each.name] else None
        if before is not None and each.begin <= before.end and each.offset == before.offset:
            found[each.name][-1] = replace(before, end=max(before.end, each.end))
        else:
            found[each.name].append(each)
    return sorted(itertools.chain.from_iterable(found.values()), key=lambda disturbance: disturbance.begin)
