"""One run: starts all processes, runs load and faults, waits until every route is settled, and gathers the evidence."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from campaign.machine import now
from campaign.programs import Program
from chaos import foreign, snapshot
from chaos.evidence import Evidence
from chaos.faults import KINDS, Injector, possible, schedule
from chaos.load import Load
from chaos.plan import NAMESPACES
from chaos.world import OPERATORS, SYSTEM, World, world

ROUTES = 50
LEASE_SECONDS = 15  # the operator's default; a machine on which a live holder loses it all the time needs more
SETTLE_SECONDS = 900.0  # on a busy machine; an idle one needs some seconds
_QUIET_SECONDS = 12.0  # longer than the interval of resyncs
_TICK = 0.5


@dataclass(frozen=True)
class Options:
    """Parameters of a run."""

    seed: int
    seconds: float
    routes: int = ROUTES
    faults: tuple[str, ...] = tuple(KINDS)
    lease_seconds: int = LEASE_SECONDS

    @property
    def everywhere(self) -> bool:
        """Whether the operators serve all namespaces."""
        return random.Random(f"{self.seed}/everywhere").random() < 0.5


@dataclass
class Progress:
    """State of a run, for display."""

    phase: str = "starting"
    steps: int = 0
    lives: int = 0
    calls: int = 0
    left: dict[str, str] = field(default_factory=dict)


def plan_of(options: Options) -> list[str]:
    """The planned faults as lines for people, by lane, until the end of the run."""
    lines = []
    for lane in sorted({each.lane for each in KINDS.values()}):
        at = 0.0
        for each in schedule(options.seed, lane, options.faults, options.lease_seconds):
            at += each.gap
            if at > options.seconds:
                break
            lines.append((at, f"{at:7.1f} s  {each.name} for {each.seconds:.1f} s"))
            at += each.seconds
    return [text for _, text in sorted(lines)]


async def run(options: Options, folder: Path, report: Callable[[str], None], progress: Progress) -> Evidence:
    """Runs once.

    Args:
        options: its parameters.
        folder: an empty folder for logs.
        report: is called with each fault.
        progress: is updated.

    Raises:
        RuntimeError: the load or the control could not do its part.
    """
    async with world(folder, options.seed, options.lease_seconds, everywhere=options.everywhere) as made:
        await foreign.create(made)
        evidence = Evidence(made.calls, [], operators=OPERATORS, namespaces=(SYSTEM, *NAMESPACES))
        evidence.others, evidence.other_names = foreign.objects(), foreign.names()
        before = await foreign.read(made)
        await asyncio.gather(*(each.start() for each in made.operators))
        evidence.zero = now()
        watchers = [asyncio.create_task(each.watch()) for each in made.operators]
        watchers.append(asyncio.create_task(_measure_stalls(evidence)))
        try:
            load = await _under_faults(made, options, evidence, report, progress)
            progress.phase = "settling"
            await _settled(made, load, evidence, progress)
            report(f"{now() - evidence.zero:8.1f} s  {len(evidence.unsettled)} routes are not settled")
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        evidence.foreign = before, await foreign.read(made)
        evidence.state = await snapshot.take(made)
        await _stop(made.operators, evidence)
        progress.phase = "control"
        if not evidence.unsettled:
            evidence.control = await snapshot.control(made, evidence, SETTLE_SECONDS)
        keep(folder, evidence)
        return evidence


async def _under_faults(
    made: World, options: Options, evidence: Evidence, report: Callable[[str], None], progress: Progress
) -> Load:
    load = Load(made, options.seed, options.seconds, options.routes)
    evidence.lives = load.lives
    names = [each for each in possible() if each in options.faults]
    injector = Injector(made, options.seed, names, lambda text: report(f"{now() - evidence.zero:8.1f} s  {text}"))
    progress.phase = "chaos"
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        faults = group.create_task(injector.run())
        until = now() + options.seconds
        while now() < until:
            progress.steps, progress.lives, progress.calls = load.steps, len(load.lives), len(made.calls)
            await asyncio.sleep(_TICK)
        injector.stopping.set()
        await faults
        load.stopping.set()
    made.kube.restart_controllers()
    evidence.disturbances, evidence.faults_ended = injector.done, now()
    report(f"{now() - evidence.zero:8.1f} s  no more faults; {load.steps} steps, {len(load.lives)} routes made")
    return load


async def _measure_stalls(evidence: Evidence) -> None:
    """Records the longest time for which this process, with its gates, did not run: then the machine was too busy."""
    while True:
        began = now()
        await asyncio.sleep(_TICK)
        evidence.longest_stall = max(evidence.longest_stall, now() - began - _TICK)


async def _settled(made: World, load: Load, evidence: Evidence, progress: Progress) -> None:
    """Waits until every route is in its final state and nothing is written for a while."""
    deadline = now() + SETTLE_SECONDS
    while True:
        await load.follow_deleted()
        progress.left = await _left(made, load)
        if not progress.left:
            quiet_since = max((each.at for each in made.calls if each.writes and not each.is_lease), default=0.0)
            if now() - quiet_since > _QUIET_SECONDS:
                break
        if now() > deadline:
            evidence.unsettled = progress.left or {"the operator": "keeps writing"}
            break
        await asyncio.sleep(2 * _TICK)
    evidence.settled = evidence.ended = now()


async def _left(made: World, load: Load) -> dict[str, str]:
    routes = await snapshot.read_routes(made)
    found = snapshot.unsettled(routes, load.last().values())
    if not found:
        # The garbage collector follows after its route.
        found = dict.fromkeys(await snapshot.read_strays(made, routes), "its owner does not exist")
    return found


async def _stop(operators: list[Program], evidence: Evidence) -> None:
    codes = await asyncio.gather(*(each.stop() for each in operators))
    evidence.exits = [text for each in operators for text in each.exits]
    evidence.exits += [
        f"{each.name}: {code} after SIGTERM" for each, code in zip(operators, codes, strict=True) if code
    ]


def keep(folder: Path, evidence: Evidence) -> None:
    """Writes the recordings as text, for people."""
    lines = [f"{call.at - evidence.zero:9.3f} {call}" for call in evidence.calls]
    (folder / "calls.txt").write_text("\n".join(lines))
    lives = [
        {
            "key": "/".join(each.key), "uid": each.uid, "versions": [(at - evidence.zero, spec) for at, spec in each.versions],
            "delete_sent": each.delete_sent and each.delete_sent - evidence.zero, "finalized": each.finalized,
            "gone": each.gone and each.gone - evidence.zero,
        }
        for each in evidence.lives
    ]  # fmt: skip
    (folder / "lives.json").write_text(json.dumps(lives, indent=1))
