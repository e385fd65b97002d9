"""Measurements and their ratios. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.engine.results import Engine


@dataclass(frozen=True, slots=True)
class Floor:
    """Requests between a bare client and a bare server, each in a process of its own."""

    key: str
    title: str
    requests: int
    seconds: float
    client_cpu: float  # CPU-seconds per 1,000 requests
    server_cpu: float  # CPU-seconds per 1,000 requests

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Throughput:
    """Messages through `chaski dev`."""

    key: str
    title: str
    messages: int
    seconds: float
    cpu: float  # CPU-seconds of `chaski dev` per 1,000 messages
    peak_rss_mib: float
    answer_p50_ms: float | None = None  # per request of the producer; None where none was measured
    answer_p99_ms: float | None = None

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of single messages, in milliseconds."""

    title: str
    messages: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Calm:
    """From the producer's request to the target's handler at a low rate: called directly, and through Chaski."""

    rate: int
    direct: Latency
    through: Latency
    cpu: float  # CPU-seconds of `chaski dev` per 1,000 messages

    @property
    def added_p50_ms(self) -> float:
        """What Chaski adds to the median."""
        return self.through.p50_ms - self.direct.p50_ms

    @property
    def added_p99_ms(self) -> float:
        """What Chaski adds to the 99th percentile."""
        return self.through.p99_ms - self.direct.p99_ms


@dataclass(frozen=True, slots=True)
class Skew:
    """The others' latency without and with a hot subject beside them."""

    hot_sent: int
    hot_delivered: int  # when the last of the others was delivered
    alone: Latency
    beside: Latency
    alone_ms: Sequence[float]  # every message's, sorted
    beside_ms: Sequence[float]
    peak_rss_mib: float

    @property
    def ratio_p50(self) -> float:
        """Median beside the hot subject over the median alone."""
        return self.beside.p50_ms / self.alone.p50_ms

    @property
    def ratio_p99(self) -> float:
        """99th percentile beside the hot subject over that alone."""
        return self.beside.p99_ms / self.alone.p99_ms


@dataclass(frozen=True, slots=True)
class Results:
    """One run."""

    plan: str
    at: str  # the day
    machine: Sequence[tuple[str, str]]  # name -> value
    floors: Sequence[Floor]
    throughputs: Sequence[Throughput]
    calm: Calm
    skew: Skew
    engine: Engine
    seconds: float  # the whole run

    def floor(self, key: str) -> Floor:
        """The floor of that key. Raises StopIteration where there is none."""
        return next(floor for floor in self.floors if floor.key == key)


PAIR, HANDLER, OTHER_LOOP = "pair", "handler", "pair-asyncio"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def latency(title: str, seconds: Sequence[float]) -> Latency:
    """Percentiles of latencies given in seconds."""
    return Latency(title, len(seconds), percentile(seconds, 0.5) * 1000, percentile(seconds, 0.99) * 1000)


def peer(results: Results, throughput: Throughput) -> tuple[str, float, float]:
    """The floor of a throughput: the floor's name, its requests a second, its CPU-seconds per 1,000.

    Accepting is a server's work, so it is compared with the bare handler under the same load
    generator. Delivering is a client's work, and the two together are both.
    """
    pair, handler = results.floor(PAIR), results.floor(HANDLER)
    if throughput.key.startswith("accepted"):
        return handler.title, handler.per_second, handler.server_cpu
    if throughput.key.startswith("drained"):
        return pair.title, pair.per_second, pair.client_cpu
    return pair.title, pair.per_second, pair.client_cpu + pair.server_cpu
