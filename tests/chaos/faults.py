"""Faults of API server, network, operators and AWS, in an order drawn from a seed. A new kind is a function here and a line of `KINDS`."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from campaign.machine import clock_library, now, set_within
from campaign.programs import Program
from chaos.evidence import Call
from chaos.gate import Gate, Mode, Treatment, aws_refusal, refusal
from chaos.world import World

Injection = Callable[[World, random.Random], AbstractAsyncContextManager[str]]  # its value is what it hit

_CLOCKS = (-305, -30, 30, 305)


# ---- processes


@asynccontextmanager
async def _server_killed(world: World, _: random.Random) -> AsyncIterator[str]:
    await asyncio.to_thread(world.kube.down)
    yield "the API server"
    await asyncio.to_thread(world.kube.up)


@asynccontextmanager
async def _server_hangs(world: World, _: random.Random) -> AsyncIterator[str]:
    pid = world.kube.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield "the API server"
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def _operator(world: World, chance: random.Random, *, how: str, holder: bool) -> AsyncIterator[str]:
    program = _program(world, chance, holder=holder)
    async with program.control:
        if how == "kill":
            await program.kill()
        elif how == "restart":
            await program.stop()
        else:
            program.signal(signal.SIGSTOP)
        try:
            yield program.name
        finally:
            if how == "pause":
                program.signal(signal.SIGCONT)
            else:
                await program.start()


@asynccontextmanager
async def _clock(world: World, chance: random.Random) -> AsyncIterator[str]:
    program, seconds = chance.choice(world.operators), chance.choice(_CLOCKS)
    program.set_clock(seconds)
    yield f"{program.name}, {seconds:+} s"
    program.set_clock(0)


def _program(world: World, chance: random.Random, *, holder: bool) -> Program:
    held = [each for each in world.operators if each.name == world.holder()]
    others = [each for each in world.operators if each not in held]
    return chance.choice((held if holder else others) or world.operators)


# ---- requests


@asynccontextmanager
async def _frozen(world: World, chance: random.Random, *, cut: bool) -> AsyncIterator[str]:
    gate = _gate(world, chance)
    gate.flowing.clear()
    yield gate.by
    if cut:
        gate.cut_all()
    gate.flowing.set()


@asynccontextmanager
async def _treated(world: World, chance: random.Random, *, name: str, mode: Mode) -> AsyncIterator[str]:
    gate = world.aws if name.startswith("AWS") else _gate(world, chance)
    gate.modes[name] = mode
    if name == "410":
        gate.cut_watches()
    yield gate.by or "AWS"
    gate.modes.pop(name, None)


@asynccontextmanager
async def _cut_watches(world: World, chance: random.Random) -> AsyncIterator[str]:
    gate = _gate(world, chance)
    gate.cut_watches()
    gate.cut_share = 0.3
    yield gate.by
    gate.cut_share = 0.0


def _gate(world: World, chance: random.Random) -> Gate:
    """Mostly the holder's."""
    held = [each for each in world.gates if each.by == world.holder()]
    return chance.choice(held) if held and chance.random() < 0.75 else chance.choice(world.gates)


def _is_list(call: Call) -> bool:
    return call.method == "GET" and not call.name and "watch=" not in call.query


def _refused(call: Call, chance: random.Random, *, status: int, share: float) -> Treatment | None:
    del call
    if chance.random() > share:
        return None
    reason = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[status]
    headers = {"Retry-After": "1"} if status == 429 and chance.random() < 0.5 else None
    return refusal(str(status), status, reason, headers)


def _held(call: Call, chance: random.Random) -> Treatment | None:
    return None if "watch=" in call.query else Treatment(name="held", hold=chance.uniform(1, 6))


def _late_list(call: Call, chance: random.Random) -> Treatment | None:
    return Treatment(name="late list", hold=chance.uniform(3, 8)) if _is_list(call) else None


def _cut_list(call: Call, chance: random.Random) -> Treatment | None:
    return Treatment(name="cut list", cut=True) if _is_list(call) and chance.random() < 0.7 else None


def _lost_answer(call: Call, chance: random.Random) -> Treatment | None:
    return Treatment(name="lost answer", lose=True) if call.writes and chance.random() < 0.4 else None


def _gone(call: Call, chance: random.Random) -> Treatment | None:
    if "watch=" not in call.query or chance.random() > 0.7:
        return None
    return refusal("410", 410, "Expired") if chance.random() < 0.5 else Treatment(name="410", gone=True)


def _throttled(call: Call, chance: random.Random) -> Treatment | None:
    code = "ThrottlingException" if "Table" in call.operation else "RequestThrottled"
    return aws_refusal("throttled", 400, code) if chance.random() < 0.15 else None


def _aws_failure(call: Call, chance: random.Random) -> Treatment | None:
    del call
    return aws_refusal("AWS 500", 500, "InternalFailure") if chance.random() < 0.15 else None


def _aws_slow(call: Call, chance: random.Random) -> Treatment | None:
    del call
    return Treatment(name="AWS slow", hold=chance.uniform(0.2, 2))


def _aws_lost(call: Call, chance: random.Random) -> Treatment | None:
    return Treatment(name="AWS lost answer", lose=True) if call.writes and chance.random() < 0.15 else None


# ---- kinds


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    lane: int  # faults of one lane never overlap, those of different lanes do
    seconds: tuple[float, float]
    inject: Injection
    leases: tuple[float, float] = (0.0, 0.0)  # in addition to `seconds`, in durations of the Lease

    def draw(self, chance: random.Random, lease_seconds: float) -> float:
        """A duration in seconds."""
        low, high = (each + part * lease_seconds for each, part in zip(self.seconds, self.leases, strict=True))
        return chance.uniform(low, high)


def _mode(name: str, mode: Mode, seconds: tuple[float, float], lane: int = 1) -> tuple[str, Kind]:
    return name, Kind(lane, seconds, partial(_treated, name=name, mode=mode))


_SOME_LONGER, _LONGER = (0.0, 1.0), (1.0, 1.0)  # than the Lease
KINDS: Mapping[str, Kind] = {
    "server killed": Kind(0, (0.5, 8.0), _server_killed),
    "server hangs": Kind(0, (2.0, 6.0), _server_hangs, _SOME_LONGER),
    "holder killed": Kind(0, (0.5, 3.0), partial(_operator, how="kill", holder=True)),
    "standby killed": Kind(0, (0.5, 3.0), partial(_operator, how="kill", holder=False)),
    "holder restarted": Kind(0, (0.1, 1.0), partial(_operator, how="restart", holder=True)),
    "holder paused": Kind(0, (2.0, 8.0), partial(_operator, how="pause", holder=True), _LONGER),
    "freeze": Kind(1, (2.0, 6.0), partial(_frozen, cut=False), _SOME_LONGER),
    "freeze and cut": Kind(1, (2.0, 8.0), partial(_frozen, cut=True), _LONGER),
    "cut watches": Kind(1, (4.0, 10.0), _cut_watches),
    **dict(
        (
            _mode("429", partial(_refused, status=429, share=0.6), (3.0, 8.0)),
            _mode("500", partial(_refused, status=500, share=0.4), (3.0, 8.0)),
            _mode("503", partial(_refused, status=503, share=1.0), (2.0, 6.0)),
            _mode("held answers", _held, (4.0, 10.0)),
            _mode("late lists", _late_list, (8.0, 16.0)),
            _mode("cut lists", _cut_list, (4.0, 12.0)),
            _mode("lost answers", _lost_answer, (4.0, 10.0)),
            _mode("410", _gone, (4.0, 10.0)),
            _mode("AWS throttled", _throttled, (5.0, 15.0), 2),
            _mode("AWS 500", _aws_failure, (3.0, 8.0), 2),
            _mode("AWS slow", _aws_slow, (5.0, 15.0), 2),
            _mode("AWS lost answers", _aws_lost, (5.0, 10.0), 2),
        )
    ),
    "clock": Kind(2, (5.0, 15.0), _clock),
}
_GAPS = ((3.0, 9.0), (1.0, 5.0), (3.0, 10.0))  # by lane


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, its duration, and the gap after the previous fault of its lane."""

    name: str
    gap: float
    seconds: float


def schedule(seed: int, lane: int, names: Sequence[str], lease_seconds: float) -> Iterator[Planned]:
    """An endless sequence of a lane's faults: all kinds in random order, repeatedly."""
    chance = random.Random(f"{seed}/faults/{lane}")
    kinds = [name for name in names if KINDS[name].lane == lane]
    for _ in itertools.count():
        if not kinds:
            return
        for name in chance.sample(kinds, len(kinds)):
            yield Planned(name, chance.uniform(*_GAPS[lane]), KINDS[name].draw(chance, lease_seconds))


def possible() -> list[str]:
    """The kinds that this machine can inject."""
    return [name for name in KINDS if name != "clock" or clock_library()]


@dataclass
class Injector:
    """Runs all lanes until it is stopped, and records the faults with their times."""

    world: World
    seed: int
    names: Sequence[str]
    report: Callable[[str], None]
    done: list[tuple[str, float, float]] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Returns when every fault is removed."""
        async with asyncio.TaskGroup() as lanes:
            for lane in range(len(_GAPS)):
                lanes.create_task(self._lane(lane))

    async def _lane(self, lane: int) -> None:
        chance = random.Random(f"{self.seed}/injector/{lane}")
        for planned in schedule(self.seed, lane, self.names, self.world.lease_seconds):
            if await set_within(self.stopping, planned.gap):
                return
            begin = now()
            async with KINDS[planned.name].inject(self.world, chance) as hit:
                self.report(f"{planned.name} for {planned.seconds:.1f} s: {hit}")
                await set_within(self.stopping, planned.seconds)
            self.done.append((f"{planned.name}: {hit}", begin, now()))
