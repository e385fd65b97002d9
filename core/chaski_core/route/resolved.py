"""A resolved route: a route plus the queues and the table made for it. Ingest and workers read only this.

Any change of the queue that a subject goes to (partitions, the list of queues, their order, their patterns) makes a new
*generation*: ingest sends only to the newest, and workers receive from it only once the older ones are empty.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from chaski_core import json_codec
from chaski_core.message.subject import partition
from chaski_core.retry.policy import Rung
from chaski_core.route.model import Route

MAX_QUEUE_NAME_CHARACTERS = 80  # .fifo included: API_CreateQueue, QueueName
MAX_TABLE_NAME_CHARACTERS = 255  # API_CreateTable, TableName
_COMMON_CHARACTERS = 50  # of a readable name, beside generation and partition of up to 16 characters


@dataclass(frozen=True, slots=True)
class Generation:
    """One map from subjects to SQS queues."""

    number: int  # from 1
    queues: Mapping[str, tuple[str, ...]]  # queue name -> URL of each partition


@dataclass(frozen=True, slots=True)
class RungQueue:
    """The SQS queue of one rung; Relaxed only."""

    rung: Rung
    url: str


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """A route, its queues and its table."""

    route: Route
    generations: tuple[Generation, ...]  # oldest first; the last one takes new messages, the others drain
    rungs: tuple[RungQueue, ...]  # those of the route's ladders
    retired_rungs: tuple[RungQueue, ...] = ()  # no longer in the route, but they may still hold messages
    dead_letter_table: str | None = None  # DynamoDB table of dead letters and attempt records; on AWS only

    @property
    def current(self) -> Generation:
        """The generation that takes new messages."""
        return self.generations[-1]

    @property
    def queue_urls(self) -> dict[str, list[str]]:
        """URLs by the queue's name, including those of older generations."""
        named: dict[str, list[str]] = {}
        for generation in self.generations:
            for name, urls in generation.queues.items():
                named.setdefault(name, []).extend(urls)
        return named

    @property
    def every_rung(self) -> tuple[RungQueue, ...]:
        """The current rungs, and removed ones whose queues may still hold messages."""
        return (*self.rungs, *self.retired_rungs)

    def place(self, subject: str) -> tuple[str, int, str]:
        """The place of a new message of a subject: queue name, partition index, queue URL."""
        queue = self.route.queue_for(subject)
        urls = self.current.queues[queue.name]
        index = partition(subject, len(urls))
        return queue.name, index, urls[index]


def map_fingerprint(route: Route) -> str:
    """Equal for two routes only if every subject goes to the same queue and partition in both.

    Another order of queues or another spelling of patterns counts as a change even where the meaning is the same.
    """
    lines = [[queue.name, queue.partitions, list(queue.subjects)] for queue in route.queues]
    return hashlib.sha256(json_codec.dumps(lines)).hexdigest()


# ---- names, of the embedded queues and of releases that did not yet begin those on AWS with a hash of the namespace


def queue_name(route: Route, queue: str, generation: int, index: int) -> str:
    """Name of the queue of one partition: readable, at most 80 characters, unique."""
    return _truncate_with_hash(f"chaski-{route.namespace}-{route.name}-{queue}-g{generation}-p{index}", route, queue)


def rung_queue_name(route: Route, rung: str) -> str:
    """Name of the queue of one rung."""
    return _truncate_with_hash(f"chaski-{route.namespace}-{route.name}-rung-{rung}", route, rung)


def queue_name_prefix(route: Route) -> str:
    """A prefix of the names of all queues of the route; queues of other routes may have the same prefix."""
    return sanitize(f"chaski-{route.namespace}-{route.name}-")[:_COMMON_CHARACTERS]


def table_name(route: Route) -> str:
    """Name of the route's DynamoDB table: readable, at most 255 characters, unique."""
    readable = sanitize(f"chaski-{route.namespace}-{route.name}")
    suffix = "-" + hashlib.sha256(f"{route.namespace}\0{route.name}".encode()).hexdigest()[:8]
    return readable[: MAX_TABLE_NAME_CHARACTERS - len(suffix)] + suffix


def sanitize(readable: str) -> str:
    """The text in the characters that names of queues and tables may have: API_CreateQueue, QueueName."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", readable)


def _truncate_with_hash(readable: str, route: Route, last: str) -> str:
    # Namespace, name and queue may contain hyphens ("a-b"/"c" and "a"/"b-c" give the same name), so a short hash of the
    # exact parts always follows.
    parts = f"{route.namespace}\0{route.name}\0{last}\0{readable}"
    suffix = "-" + hashlib.sha256(parts.encode()).hexdigest()[:8] + ".fifo"
    readable = sanitize(readable)
    tail = re.search(r"(-g\d+-p\d+)?\Z", readable)
    kept = tail.group() if tail else ""
    limit = MAX_QUEUE_NAME_CHARACTERS - len(suffix) - len(kept)
    return readable[: len(readable) - len(kept)][:limit] + kept + suffix
