"""Faults of Chaski's processes, in an order drawn from a seed. To add a fault, write a class here and add it to `FAULTS`."""

import asyncio
import itertools
import random
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from campaign.evidence import Disturbance
from campaign.machine import clock_library, fill, free_space, now, set_within
from campaign.programs import VISIBILITY_SECONDS, Program, World

HOUR, DAY = 3600, 86400
CLOCKS: Mapping[str, int] = {"-2 h": -2 * HOUR, "+305 s": 305, "+20 days": 20 * DAY, "+400 days": 400 * DAY}
_RETENTION_SECONDS = 15.0  # longer than the interval of housekeeping, which is ten


class Fault(ABC):
    """A fault: `begin`, some seconds, `end`."""

    name = ""
    seconds = (3.0, 8.0)  # range of its duration
    exclusive = True  # it stops or starts the process; no other exclusive fault runs at the same time

    def __init__(self, program: Program) -> None:
        self.program = program
        self.offset = 0.0

    @classmethod
    def impossible(cls, _: World) -> str:
        """Why the fault is impossible here; empty if it is possible."""
        return ""

    @abstractmethod
    async def begin(self, world: World) -> None:
        """Injects the fault."""

    @abstractmethod
    async def end(self, world: World) -> None:
        """Removes the fault."""

    def __str__(self) -> str:
        return f"{self.name} of {self.program.name}"


class Kill(Fault):
    """SIGKILL, and a start a little later."""

    name = "kill"
    seconds = (0.1, 2.0)

    async def begin(self, _: World) -> None:
        await self.program.kill()

    async def end(self, _: World) -> None:
        await self.program.start()


class Restart(Kill):
    """SIGTERM, and a start after the end."""

    name = "restart"

    async def begin(self, _: World) -> None:
        await self.program.stop()


class Pause(Fault):
    """SIGSTOP for longer than the visibility timeout."""

    name = "pause"
    seconds = (VISIBILITY_SECONDS + 1.0, VISIBILITY_SECONDS + 4.0)

    async def begin(self, _: World) -> None:
        self.program.signal(signal.SIGSTOP)

    async def end(self, _: World) -> None:
        self.program.signal(signal.SIGCONT)


class ShortPause(Pause):
    """SIGSTOP for a moment."""

    name = "short pause"
    seconds = (0.3, 2.0)


class Clock(Fault):
    """The wall clock of a process jumps, and back again."""

    name = "clock"
    exclusive = False

    def __init__(self, program: Program, move: str) -> None:
        super().__init__(program)
        self.move = move

    @classmethod
    def impossible(cls, _: World) -> str:
        return "" if clock_library() else "libfaketime is not installed (Debian: apt-get install faketime)"

    async def begin(self, world: World) -> None:
        if world.backend == "embedded":  # on SQS, AWS's clock applies, which is right
            self.offset = float(CLOCKS[self.move])
        self.program.set_clock(CLOCKS[self.move])

    async def end(self, _: World) -> None:
        self.program.set_clock(0)

    def __str__(self) -> str:
        return f"clock {self.move} of {self.program.name}"


class Descriptors(Fault):
    """A process can open only two more sockets or files."""

    name = "descriptors"
    exclusive = False

    async def begin(self, _: World) -> None:
        self.program.limit_descriptors(2)

    async def end(self, _: World) -> None:
        self.program.limit_descriptors(None)


class Disk(Fault):
    """The file system of the data folder is full."""

    name = "disk"
    exclusive = False

    @classmethod
    def impossible(cls, world: World) -> str:
        if world.backend != "embedded":
            return "only the embedded backend has a disk"
        return "" if world.own_file_system else "a separate file system needs root"

    async def begin(self, world: World) -> None:
        if not await asyncio.to_thread(fill, world.folder / "data"):
            raise RuntimeError("the data folder's file system could not be filled")

    async def end(self, world: World) -> None:
        await asyncio.to_thread(free_space, world.folder / "data")


class Retention(Fault):
    """Suspended messages wait longer than the retention of dead letters: two days pass before they are attempted."""

    name = "retention"
    seconds = (_RETENTION_SECONDS, _RETENTION_SECONDS)

    @classmethod
    def impossible(cls, world: World) -> str:
        return Clock.impossible(world) if world.backend == "embedded" else "only the embedded backend's clock is moved"

    async def begin(self, world: World) -> None:
        self.offset = 2.0 * DAY
        await self.program.stop()
        world.write_waiting_route(suspended=False)
        self.program.set_clock(2 * DAY)
        await self.program.start()

    async def end(self, _: World) -> None:
        self.program.set_clock(0)


FAULTS: Mapping[str, type[Fault]] = {
    each.name: each for each in (Kill, Restart, Pause, ShortPause, Clock, Descriptors, Disk, Retention)
}
IDS = "ids"  # a fault of the load: producers reuse ids
NAMES = (IDS, *FAULTS)
LANES = (("kill", "restart", "pause", "short pause"), ("retention", "clock", "descriptors", "disk"))  # run concurrently
_GAPS = ((5.0, 12.0), (3.0, 8.0))


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, its duration, and the gap after the previous fault of its lane."""

    gap: float
    seconds: float
    fault: Fault


def schedule(seed: int, lane: int, names: Sequence[str], programs: Sequence[Program]) -> Iterator[Planned]:
    """An endless sequence of a lane's faults: all kinds in random order, repeatedly; `retention` once, as the first."""
    chance = random.Random(f"{seed}/faults/{lane}")
    kinds = [name for name in LANES[lane] if name in names]
    for turn in itertools.count():
        makers = [maker for name in kinds if name != Retention.name for maker in _makers(name)]
        chance.shuffle(makers)
        if turn == 0 and Retention.name in kinds:
            makers.insert(0, Retention)
        if not makers:
            return
        for make in makers:
            fault = make(chance.choice(programs))
            yield Planned(chance.uniform(*_GAPS[lane]), chance.uniform(*fault.seconds), fault)


def _makers(name: str) -> list[Callable[[Program], Fault]]:
    if name == Clock.name:
        return [lambda program, move=move: Clock(program, move) for move in CLOCKS]  # type: ignore[misc]
    return [FAULTS[name]]


@dataclass
class Injector:
    """Runs both lanes until it is stopped, and records the faults with their times."""

    world: World
    seed: int
    names: Sequence[str]
    report: Callable[[str], None]
    done: list[Disturbance] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Returns when every fault is removed."""
        async with asyncio.TaskGroup() as lanes:
            for lane in range(len(LANES)):
                lanes.create_task(self._lane(lane))

    async def _lane(self, lane: int) -> None:
        for planned in schedule(self.seed, lane, self.names, self.world.programs):
            if await set_within(self.stopping, planned.gap):
                return
            async with self._held(planned.fault):
                begin = now()
                self.report(f"{planned.fault} for {planned.seconds:.1f} s")
                await planned.fault.begin(self.world)
                try:
                    await set_within(self.stopping, planned.seconds)
                finally:
                    await planned.fault.end(self.world)
                self.done.append(Disturbance(str(planned.fault), begin, now() + 1.0, planned.fault.offset))

    @asynccontextmanager
    async def _held(self, fault: Fault) -> AsyncIterator[None]:
        if not fault.exclusive:
            yield
            return
        async with fault.program.control:
            yield
