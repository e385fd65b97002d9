"""ChaskiReplays, and dead letters in the table of a route that an operator manages."""

import contextlib
import random
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.http.endpoints import DYNAMODB, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_core.dead_letter import DeadLetter
from chaski_core.message.envelope import Envelope, Metadata, read_envelope, write_envelope
from chaski_runtime.process.clock import SystemClock
from support.aws.adapters import FixedCredentials
from support.dead_letters.builder import a_dead_letter
from support.kube.api_server import KubeApi
from support.kube.http import ROUTES, KubeHttp
from support.operator.processes import until

NAME = "again"


def replay(namespace: str, route: str, name: str = NAME, **spec: Any) -> dict[str, Any]:
    """A ChaskiReplay of all dead letters; `spec` overrides fields."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiReplay",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"routeRef": {"name": route}, "filter": {}} | spec,
    }


class Replayed:
    """One ChaskiReplay."""

    def __init__(self, kube: KubeApi, namespace: str, route: str, name: str = NAME) -> None:
        self.kube = kube
        self.http = KubeHttp(kube)
        self.namespace = namespace
        self.route = route
        self.name = name

    @property
    def path(self) -> str:
        """Path of the resource."""
        return f"{ROUTES}/namespaces/{self.namespace}/chaskireplays/{self.name}"

    def apply(self, **spec: Any) -> None:
        """Applies the resource with kubectl."""
        self.kube.kubectl("apply", "-f", "-", document=replay(self.namespace, self.route, self.name, **spec))

    def get(self) -> dict[str, Any] | None:
        """The resource, or None if it does not exist."""
        found: dict[str, Any] | None = self.http.get(self.path)
        return found

    @property
    def status(self) -> Mapping[str, Any]:
        """The status that the operator wrote."""
        found: Mapping[str, Any] = (self.get() or {}).get("status") or {}
        return found

    def condition(self, type_: str) -> Mapping[str, Any]:
        """The condition of a type; empty if it is missing."""
        return next((each for each in self.status.get("conditions") or () if each["type"] == type_), {})

    def says(self, type_: str, status: str, reason: str) -> str:
        """Waits until a condition has this status and reason; returns its message."""

        def reached() -> Mapping[str, Any] | None:
            found = self.condition(type_)
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        found = until(reached, f"{type_} is not {status} {reason}: {self.status}")
        return str(found["message"])

    def job(self) -> dict[str, Any] | None:
        """The replay's Job, or None."""
        jobs = self.http.items(
            f"/apis/batch/v1/namespaces/{self.namespace}/jobs?labelSelector=chaski.dev/replay={self.name}"
        )
        assert len(jobs) <= 1
        return jobs[0] if jobs else None

    def await_job(self) -> dict[str, Any]:
        """Waits for the Job."""
        found: dict[str, Any] = until(self.job, f"no Job was created: {self.status}")
        return found


def made(route: str, count: int, subjects: int, now_ms: int) -> list[DeadLetter]:
    """Dead letters, dead-lettered in another order than accepted.

    Every third is a 404, the others 500; every tenth has a target that no rule allows now.
    """
    turns = list(range(count))
    random.Random(11).shuffle(turns)
    found = []
    for given_up, number in enumerate(turns):
        subject = f"s{number % subjects:03}"
        url = "https://gone.example/in" if number % 10 == 1 else "https://t.example/in"
        document = {"subject": subject, "body": {"url": url, "content": number}}
        accepted = now_ms - 7_200_000 + number
        envelope = read_envelope(write_envelope(document, Metadata(f"m{number:06}", route, accepted)))
        assert isinstance(envelope, Envelope)
        found.append(
            a_dead_letter(f"m{number:06}", route=route, subject=subject, dead_lettered_at=now_ms - 3_000_000 + given_up * 50, error_class="404" if number % 3 == 0 else "500", url=url, envelope=envelope.document)
        )  # fmt: skip
    return found


@contextlib.asynccontextmanager
async def letters_of(url: str, table: str) -> AsyncIterator[DynamoDeadLetters]:
    """The dead-letter store of a table."""
    transport = AwsTransport(Endpoint(DYNAMODB, url, "us-east-1"), FixedCredentials())
    try:
        yield DynamoDeadLetters(transport, table, 30, SystemClock())
    finally:
        await transport.close()


def on_queues(folder: Path, route: str) -> dict[str, list[str]]:
    """Ids of a route's messages on the queues by subject, in queue order, read from the broker's file."""
    found: dict[str, list[str]] = defaultdict(list)
    for envelope, metadata in queued(folder):
        if metadata.route == route:
            found[envelope.subject].append(str(metadata.id))
    return dict(found)


def queued(folder: Path) -> list[tuple[Envelope, Metadata]]:
    """All messages on the queues, in queue order, read from the broker's file."""
    found: list[tuple[Envelope, Metadata]] = []
    with contextlib.closing(sqlite3.connect(folder / "chaski.db")) as connection:
        rows = connection.execute(
            "SELECT body FROM messages JOIN bodies USING (sequence) WHERE gone = 0 ORDER BY sequence"
        )
        for (body,) in rows:
            envelope = read_envelope(body)
            assert isinstance(envelope, Envelope)
            assert envelope.metadata is not None
            found.append((envelope, envelope.metadata))
    return found


def report_line(status: Mapping[str, Any]) -> str:
    """The counts in one line."""
    return ", ".join(f"{name} {count}" for name, count in status["counts"].items())
