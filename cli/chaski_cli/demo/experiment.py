"""What the experiment sends, what must come of it, and the judgement whether it did. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_cli.demo.target import ENDPOINTS
from chaski_core.dead_letter import DeadLetter

SUBJECT = "test_subject"
ROUTE = "demo/experiment"
MESSAGES_PER_ENDPOINT = 50


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the messages to one endpoint."""

    messages: int
    retries: int
    requests: int
    dead_letters: int

    def as_json(self) -> dict[str, int]:
        """The row as `demo --json` prints it."""
        return {
            "messages": self.messages,
            "retries": self.retries,
            "requests": self.requests,
            "deadLetters": self.dead_letters,
        }


EXPECTED: Mapping[str, Row] = {
    "200": Row(50, 0, 50, 0),
    "400": Row(50, 200, 250, 50),
    "500": Row(50, 250, 300, 50),
    "timeout": Row(50, 150, 200, 50),
}
EXPECTED_ACCEPTED: Mapping[str, int] = {SUBJECT: 200}
EXPECTED_FAILED_RETRIES: Mapping[str, int] = {"400": 200, "500": 250, "timeout": 150}


@dataclass(frozen=True, slots=True)
class Metrics:
    """The running system's own count, from its `/metrics`."""

    accepted: Mapping[str, int]  # by subject group
    failed_retries: Mapping[str, int]  # by target: attempts of the error-consumer that failed
    delivered: Mapping[str, int]  # by target
    dead_letters: Mapping[str, int]  # by target
    attempts: Mapping[str, int]  # by target

    @property
    def settled(self) -> int:
        """Messages that came to an end."""
        return sum(self.delivered.values()) + sum(self.dead_letters.values())

    def as_json(self) -> dict[str, Any]:
        """The metrics as `demo --json` prints them."""
        return {
            "acceptedBySubject": dict(self.accepted),
            "failedRetriesByTarget": dict(self.failed_retries),
            "deliveredByTarget": dict(self.delivered),
            "deadLettersByTarget": dict(self.dead_letters),
            "attemptsByTarget": dict(self.attempts),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """All that was read after the experiment."""

    rows: Mapping[str, Row]
    metrics: Metrics
    first_attempts_in_order: bool

    @property
    def total(self) -> Row:
        """The sum of all rows."""
        return total(self.rows.values())

    @property
    def exact(self) -> bool:
        """Whether every cell is what the design says it must be, and no first attempt overtook another."""
        return (
            self.rows == EXPECTED
            and self.metrics.accepted == EXPECTED_ACCEPTED
            and self.metrics.failed_retries == EXPECTED_FAILED_RETRIES
            and self.first_attempts_in_order
        )

    def as_json(self) -> dict[str, Any]:
        """The object that `demo --json` prints."""
        return {
            "endpoints": {endpoint: row.as_json() for endpoint, row in self.rows.items()},
            "sum": self.total.as_json(),
            "metrics": self.metrics.as_json(),
            "firstAttemptsInOrder": self.first_attempts_in_order,
            "exact": self.exact,
        }


def total(rows: Iterable[Row]) -> Row:
    """The sum of rows, cell by cell."""
    listed = list(rows)
    return Row(
        sum(row.messages for row in listed),
        sum(row.retries for row in listed),
        sum(row.requests for row in listed),
        sum(row.dead_letters for row in listed),
    )


def messages(target_url: str) -> list[dict[str, Any]]:
    """The 200 messages in the order they are sent: the four endpoints in turn, as mixed traffic would come."""
    return [
        {"subject": SUBJECT, "body": {"url": f"{target_url}/{endpoint}", "content": {"number": number}}}
        for number, endpoint in enumerate(list(ENDPOINTS) * MESSAGES_PER_ENDPOINT)
    ]


def route_document(target_url: str) -> dict[str, Any]:
    """The demo's ChaskiRoute: rungs of seconds instead of minutes, one allow rule for each endpoint."""
    namespace, name = ROUTE.split("/")
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "ordering": "Relaxed",
            "queues": [{"name": "messages", "partitions": 1}],
            "targets": {"allow": [{"name": endpoint, "url": f"{target_url}/{endpoint}"} for endpoint in ENDPOINTS]},
            "delivery": {"timeoutSeconds": 1},
            "retry": {
                "rungs": [
                    {"name": "fast", "delaySeconds": 1},
                    {"name": "medium", "delaySeconds": 2},
                    {"name": "slow", "delaySeconds": 3},
                ],
                "ladders": [
                    {"class": "4xx", "retriesPerRung": 2, "rungs": ["fast", "medium"]},
                    {"class": "5xx", "retriesPerRung": 5, "rungs": ["fast"]},
                    {"class": "timeout", "retriesPerRung": 1, "rungs": ["fast", "medium", "slow"]},
                    {"class": "connection", "retriesPerRung": 1, "rungs": ["fast", "medium", "slow"]},
                ],
            },
            "subjectGroup": {"pattern": "^(.*)$", "maxValues": 10},
        },
    }


def rows(requests: Mapping[str, Mapping[str, int]], letters: Iterable[DeadLetter]) -> dict[str, Row]:
    """The table: messages, retries and requests as the target counted them, dead letters as the store holds them.

    Args:
        requests: by endpoint and message number, the target's count.
        letters: every dead letter of the route.
    """
    kept: dict[str, int] = dict.fromkeys(ENDPOINTS, 0)
    for letter in letters:
        kept[letter.target] = kept.get(letter.target, 0) + 1
    table = {}
    for endpoint in (*ENDPOINTS, *(name for name in kept if name not in ENDPOINTS)):
        counts = requests.get(endpoint, {})
        sent = sum(counts.values())
        table[endpoint] = Row(len(counts), sent - len(counts), sent, kept[endpoint])
    return table


def in_order(first_arrivals: Sequence[int]) -> bool:
    """Whether first attempts arrived in the order in which the messages were sent."""
    return list(first_arrivals) == sorted(first_arrivals)
