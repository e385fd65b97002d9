"""Many subjects whose messages fail now and then: the messages, the attempts of the ladders, and checks of order."""

import functools
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from support.processes.dev import Seen

RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [
        {"class": "4xx", "retriesPerRung": 1, "rungs": ["fast"]},
        {"class": "5xx", "retriesPerRung": 2, "rungs": ["fast"]},
    ],
}
RETRIES = {404: 1, 503: 2}


@functools.cache
def answer(_path: str, message_id: str, attempt: int) -> tuple[float, int]:
    """A delay of up to 30 ms, and one failure in twelve; by chance, but the same for the same attempt."""
    chance = random.Random(f"{message_id}/{attempt}")
    status = chance.choice([503, 404]) if chance.random() < 1 / 12 else 200
    return chance.random() * 0.03, status


def expected_statuses(message_id: str) -> list[int]:
    """The target's status for each attempt that the ladder requires."""
    statuses = [answer("/", message_id, 1)[1]]
    while statuses[-1] != 200 and len(statuses) <= RETRIES[statuses[0]]:
        statuses.append(answer("/", message_id, len(statuses) + 1)[1])
    return statuses


class OrderedTraffic:
    """Subjects `s0`, `s1` … with messages `s0-0`, `s0-1` … each."""

    def __init__(self, subjects: int, messages: int) -> None:
        self._subjects, self.messages = subjects, messages
        self.expected = {
            each: expected_statuses(each)
            for each in (f"s{subject}-{number}" for subject in range(subjects) for number in range(messages))
        }
        self.attempts = sum(len(statuses) for statuses in self.expected.values())
        self.exhausted = {each for each, statuses in self.expected.items() if statuses[-1] != 200}

    def chunks(self, lines_per_request: int, url: str) -> Iterator[list[dict[str, Any]]]:
        """The messages in the order sent: number by number, all subjects in turn."""
        order = (
            {"id": f"s{subject}-{number}", "subject": f"s{subject}", "body": {"url": url}}
            for number in range(self.messages)
            for subject in range(self._subjects)
        )
        while chunk := list(itertools.islice(order, lines_per_request)):
            yield chunk

    def check_attempts(self, arrived: Iterable[Seen]) -> None:
        """Every message had exactly the attempts of its ladder, once or more often."""
        numbers: dict[str, set[int]] = defaultdict(set)
        for message_id, number in first_arrivals(arrived):
            numbers[message_id].add(number)
        assert numbers == {each: set(range(1, len(statuses) + 1)) for each, statuses in self.expected.items()}

    def check_order(self, ordering: str, arrived: Iterable[Seen], answered: Iterable[Seen]) -> None:
        """Relaxed: first attempts in order, and so is each retry number. Strict: nothing before its predecessor was settled."""
        first = first_arrivals(arrived)
        order: dict[tuple[str, int], list[int]] = defaultdict(list)
        for message_id, number in first:
            subject, _, position = message_id.partition("-")
            order[subject, number].append(int(position))
        assert all(positions == sorted(positions) for positions in order.values())
        if ordering == "Strict":
            done: dict[tuple[str, int], float] = {}
            for seen in sorted(answered, key=lambda each: each.done):
                done.setdefault((seen.label, seen.attempt), seen.done)
            for before, after in self._pairs():
                settled = max(done[before, number + 1] for number in range(len(self.expected[before])))
                assert settled <= first[after, 1], (before, after)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for subject in range(self._subjects):
            yield from itertools.pairwise(f"s{subject}-{number}" for number in range(self.messages))


def first_arrivals(arrived: Iterable[Seen]) -> dict[tuple[str, int], float]:
    """When each attempt first arrived, by message and number, in that order."""
    found: dict[tuple[str, int], float] = {}
    for seen in sorted(arrived, key=lambda each: each.at):
        found.setdefault((seen.label, seen.attempt), seen.at)
    return found


def by_subject(requests: Iterable[Seen]) -> dict[str, list[Seen]]:
    """Requests of each subject in the order they began."""
    found: dict[str, list[Seen]] = defaultdict(list)
    for seen in sorted(requests, key=lambda each: each.at):
        found[seen.label.rpartition("-")[0]].append(seen)
    return found
