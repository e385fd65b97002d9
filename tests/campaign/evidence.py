"""What a campaign leaves behind for the judge: frozen recordings, and how the target's file is read."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from campaign.plan import MAIN, RETRIES, TIMEOUT_SECONDS, Message, behaviour_of, class_of

LATE = 0.9  # of the timeout: a slower answer is one that the caller may have given up


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the target saw it; times in seconds of the monotonic clock."""

    at: float
    done: float
    token: str
    attempt: int
    message_id: str  # Chaski-Message-Id
    label: str  # Chaski-Id; empty where the release has none
    webhook_id: str
    status: int  # 0: failed on purpose without an answer; -1: the caller left before the answer

    @property
    def delivered(self) -> bool:
        """Whether the target took it."""
        return 200 <= self.status < 300

    @property
    def failed(self) -> bool:
        """Whether the caller may hold the target to have failed."""
        return not self.delivered or self.done - self.at > TIMEOUT_SECONDS * LATE

    @property
    def error_class(self) -> str:
        """The class of a failure."""
        if self.status >= 400:
            return f"{self.status // 100}xx"
        if self.status == 0:
            return class_of(behaviour_of(self.token))
        return "timeout" if self.done - self.at > TIMEOUT_SECONDS / 2 else "connection"


@dataclass(slots=True)
class Sending:
    """What its producer knows of a message."""

    message: Message
    route: str = MAIN
    began: float = 0.0  # monotonic
    accepted: float | None = None  # when the first 202 came
    unclear: int = 0  # requests with this message that may or may not have put it on the queue
    answers: list[tuple[str, str]] = field(default_factory=list)  # id and messageId (or "") of each 202
    again: float | None = None  # when the deliberate repeat was answered
    refused: str = ""

    @property
    def copies(self) -> int:
        """How many messages of this content were accepted."""
        if self.accepted is None:
            return 0
        return 2 if self.message.by_two and len(self.answers) > 1 else 1


@dataclass(frozen=True, slots=True)
class Letter:
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
    """A fault that was in force, or a stall of the machine; monotonic seconds."""

    name: str
    begin: float
    end: float
    offset: float = 0.0  # of the wall clock that decides over stored times

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether any of it lies in that time."""
        return self.begin <= end and begin <= self.end


@dataclass(frozen=True)
class Evidence:
    """Everything of one campaign."""

    ordering: str
    sendings: Sequence[Sending]
    requests: Sequence[Request]
    letters: Sequence[Letter] = ()
    disturbances: Sequence[Disturbance] = ()
    ended: float = 0.0  # monotonic: when the stores were read
    zero: float = 0.0  # monotonic: when it began
    wall: float = 0.0  # epoch seconds at zero of the monotonic clock, by the judge's right clock
    not_listed: Mapping[str, str] = field(default_factory=dict)  # token: the `--since` that should have listed it
    not_traced: Sequence[str] = ()  # tokens
    exits: Sequence[str] = ()  # processes that ended by themselves, in words
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
        """What was sent, by message."""
        return {each.message.token: each for each in self.sendings}

    @cached_property
    def letters_of(self) -> Mapping[str, Sequence[Letter]]:
        """Dead letters by message."""
        found: dict[str, list[Letter]] = defaultdict(list)
        for letter in self.letters:
            found[letter.token].append(letter)
        return found

    @cached_property
    def by_subject(self) -> Mapping[str, Sequence[Sending]]:
        """What was accepted, in its order."""
        found: dict[str, list[Sending]] = defaultdict(list)
        for each in sorted(self.sendings, key=lambda sending: sending.message.number):
            if each.accepted is not None:
                found[each.message.subject].append(each)
        return found

    def causes(self, begin: float, end: float) -> list[str]:
        """Names of the disturbances that lie in that time."""
        return sorted({each.name for each in self.disturbances if each.overlaps(begin, end)})


def retries_of(sending: Sending, error_class: str) -> int:
    """What the route declares; the route of waiting messages has no ladder."""
    return RETRIES.get(error_class, 0) if sending.route == MAIN else 0


def read_records(lines: Iterable[str]) -> tuple[list[Request], list[Disturbance]]:
    """The target's file: its requests, and when it did not run itself."""
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
    """One where several of a name follow each other without a gap."""
    found: dict[str, list[Disturbance]] = defaultdict(list)
    for each in sorted(disturbances, key=lambda disturbance: disturbance.begin):
        before = found[each.name][-1] if found[each.name] else None
        if before is not None and each.begin <= before.end and each.offset == before.offset:
            found[each.name][-1] = replace(before, end=max(before.end, each.end))
        else:
            found[each.name].append(each)
    return sorted(itertools.chain.from_iterable(found.values()), key=lambda disturbance: disturbance.begin)
