"""Measurements of the delivery engine and of ingest, and their targets. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

OURS, FLOOR, NAIVE = "chaski", "floor", "naive"
TITLES = {OURS: "chaski-worker consume", FLOOR: "bare floor", NAIVE: "boto3 + requests"}
SATURATED, SLOW, CALM, HOT = "saturated", "slow", "calm", "hot"


@dataclass(frozen=True, slots=True)
class Load:
    """The messages on the queue, and the response time of targets."""

    key: str
    title: str
    messages: int
    subjects: int
    answer_ms: int = 0
    rate: float = 0.0  # messages a second; 0: all from the start
    hot_percent: int = 0  # messages of a hundred that belong to one subject; 0: all subjects have as many

    @property
    def hot_messages(self) -> int:
        """Messages of the hot subject."""
        return self.messages * self.hot_percent // 100


@dataclass(frozen=True, slots=True)
class Consumed:
    """One consumer under one load."""

    kind: str  # chaski | floor | naive
    load: str  # the load's key
    messages: int
    seconds: float  # from the first delivery to the last
    cpu: float  # CPU-seconds per 1,000 messages
    calls: float  # SQS calls per message
    peak_rss_mib: float
    p50_ms: float  # from put on the queue to the target's handler
    p99_ms: float
    missing: int
    repeated: int
    out_of_order: int
    hot_ms: float = 0.0  # a message of the hot subject, from the first delivery to its last delete; 0: there is none

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True)
class Ingested:
    """Requests at a server: Chaski's ingest before the stand-in, or a bare handler."""

    kind: str  # chaski | handler
    title: str
    requests: int
    seconds: float
    cpu: float  # CPU-seconds per 1,000 requests
    p50_ms: float
    p99_ms: float
    fastest_ms: float
    entries: float  # messages in a call to the queue; 0 where there is none
    missing: int  # answered 202, but not on the queue

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def per_core(self) -> float:
        """Requests that one core's second is enough for."""
        return 1000 / self.cpu


@dataclass(frozen=True, slots=True)
class Engine:
    """All measurements. Several of one kind and load are repetitions."""

    loads: Sequence[Load]
    consumed: Sequence[Consumed]
    ingested: Sequence[Ingested]  # alternating: handler, chaski
    half: Ingested  # Chaski's ingest at half of its load
    send_ms: float  # until the queue acknowledges

    def of(self, kind: str, load: str) -> Sequence[Consumed]:
        """The repetitions of one kind under one load."""
        return [each for each in self.consumed if (each.kind, each.load) == (kind, load)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, and what was measured."""

    what: str
    target: str
    measured: str
    met: bool


def ratio(engine: Engine, load: str, of: str) -> float:
    """Chaski's figure over the floor's: the median over runs that followed one another."""
    pairs = zip(engine.of(OURS, load), engine.of(FLOOR, load), strict=True)
    return statistics.median(getattr(ours, of) / getattr(floor, of) for ours, floor in pairs)


def ingest_ratio(engine: Engine) -> float:
    """Requests per core of Chaski's ingest over the bare handler's: the median, as above."""
    ours = [each for each in engine.ingested if each.kind == OURS]
    bare = [each for each in engine.ingested if each.kind == "handler"]
    return statistics.median(one.per_core / other.per_core for one, other in zip(ours, bare, strict=True))


def verdicts(engine: Engine) -> list[Verdict]:
    """Every target of the delivery engine and of ingest."""
    saturated, calm = engine.of(OURS, SATURATED), engine.of(OURS, CALM)
    return [
        _most("CPU per message, targets answer at once, 1,000 subjects", ratio(engine, SATURATED, "cpu"), 1.3, "floor"),
        _least("messages/s, targets take 50 ms, 200 subjects", ratio(engine, SLOW, "per_second"), 0.9, "floor"),
        _most("time per message of a hot subject, targets take 5 ms", ratio(engine, HOT, "hot_ms"), 1.2, "floor"),
        _most("CPU per message at 100 messages/s", ratio(engine, CALM, "cpu"), 0.6, "floor"),
        _most("SQS calls per message at 100 messages/s", _worst(calm, "calls"), 1.3),
        _most("median latency added at 100 messages/s, ms", _worst(calm, "p50_ms"), 50),
        _most("SQS calls per message, saturated", _worst(saturated, "calls"), 0.35),
        _most("messages missing or out of order", _lost(engine), 0),
        _least("ingest: requests/s per core", ingest_ratio(engine), 0.5, "bare handler"),
        _most("ingest: p99 at half load, ms", engine.half.p99_ms, 50),
        _least("ingest: fastest 202, ms (the queue takes that long)", _fastest(engine), engine.send_ms),
        _least("ingest: messages in a call when busy", _entries(engine), 9),
    ]


def _worst(runs: Sequence[Consumed], of: str) -> float:
    return float(max(getattr(each, of) for each in runs))


def _lost(engine: Engine) -> float:
    ours = [each for each in engine.consumed if each.kind == OURS]
    queue = [each for each in engine.ingested if each.kind == OURS]
    lost = sum(each.missing + each.out_of_order for each in ours) + sum(each.missing for each in [*queue, engine.half])
    return float(lost)


def _fastest(engine: Engine) -> float:
    return min(each.fastest_ms for each in [*engine.ingested, engine.half] if each.kind == OURS)


def _entries(engine: Engine) -> float:
    return min(each.entries for each in engine.ingested if each.kind == OURS)


def _most(what: str, value: float, bound: float, of: str = "") -> Verdict:
    return Verdict(what, f"≤ {bound:g}{of and f' x {of}'}", f"{value:.2f}{of and ' x'}", value <= bound)


def _least(what: str, value: float, bound: float, of: str = "") -> Verdict:
    return Verdict(what, f"≥ {bound:g}{of and f' x {of}'}", f"{value:.2f}{of and ' x'}", value >= bound)
