"""The experiment: its messages, the expected figures, and the comparison with the measured ones. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from chaski_cli.demo.target import ENDPOINTS
from chaski_core.dead_letter import DeadLetter

SUBJECT = "test_subject"
ROUTE = "demo/experiment"
MESSAGES_PER_ENDPOINT = 50


@dataclass(frozen=True, slots=True)
class Row:
    """Counts of one endpoint."""

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
    """Counts from the `/metrics` of the running system."""

    accepted: Mapping[str, int]  # by subject group
    failed_retries: Mapping[str, int]  # by target: failed attempts of the retry stage
    delivered: Mapping[str, int]  # by target
    dead_letters: Mapping[str, int]  # by target
    attempts: Mapping[str, int]  # by target

    @property
    def settled(self) -> int:
        """Messages that were delivered or dead-lettered."""
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
    """Everything measured by the experiment."""

    rows: Mapping[str, Row]
    metrics: Metrics
    first_attempts_in_order: bool

    @property
    def total(self) -> Row:
        """The sum of all rows."""
        return total(self.rows.values())

    @property
    def exact(self) -> bool:
        """Whether every figure is as expected, and no first attempt overtook another."""
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
    """The 200 messages in the order of sending: the four endpoints in turn, like mixed traffic."""
    return [
        {"subject": SUBJECT, "body": {"url": f"{target_url}/{endpoint}", "content": {"number": number}}}
        for number, endpoint in enumerate(list(ENDPOINTS) * MESSAGES_PER_ENDPOINT)
    ]


def route_document(target_url: str) -> dict[str, Any]:
    """The demo's ChaskiRoute: rungs of seconds instead of minutes, one allow rule per endpoint."""
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


def rows(requests: Mapping[str, Mapping[str, int]], dead_letters: Iterable[DeadLetter]) -> dict[str, Row]:
    """The table: messages, retries and requests as counted by the target, dead letters as stored.

    Args:
        requests: the target's counts by endpoint and message number.
        dead_letters: every dead letter of the route.
    """
    stored: dict[str, int] = dict.fromkeys(ENDPOINTS, 0)
    for dead_letter in dead_letters:
        stored[dead_letter.target] = stored.get(dead_letter.target, 0) + 1
    table = {}
    for endpoint in (*ENDPOINTS, *(name for name in stored if name not in ENDPOINTS)):
        counts = requests.get(endpoint, {})
        sent = sum(counts.values())
        table[endpoint] = Row(len(counts), sent - len(counts), sent, stored[endpoint])
    return table


def in_order(first_arrivals: Sequence[int]) -> bool:
    """Whether first attempts arrived in the order of sending."""
    return list(first_arrivals) == sorted(first_arrivals)


def read_metrics(page: str) -> Metrics:
    """The figures of one `/metrics` page; a missing counter is zero."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]

    def summed(name: str, by: str, only: Mapping[str, str] | None = None) -> dict[str, int]:
        sums: dict[str, int] = {}
        for sample in samples:
            if sample.name == name and all(sample.labels.get(key) == value for key, value in (only or {}).items()):
                label = sample.labels.get(by, "")
                sums[label] = sums.get(label, 0) + int(sample.value)
        return sums

    attempts = "chaski_attempts_total"
    return Metrics(
        accepted=summed("chaski_messages_accepted_total", "subject_group"),
        failed_retries=summed(attempts, "target", {"stage": "retry", "outcome": "failed"}),
        delivered=summed("chaski_messages_delivered_total", "target"),
        dead_letters=summed("chaski_dead_letters_total", "target"),
        attempts=summed(attempts, "target"),
    )
