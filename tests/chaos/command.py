"""The command line: flags, output, and the command to repeat a run."""

import argparse
import asyncio
import itertools
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from campaign.report import print_report, with_progress
from chaos.evidence import Evidence, Violation
from chaos.faults import KINDS as FAULTS
from chaos.judge import KINDS, judge, most_writes
from chaos.run import LEASE_SECONDS, ROUTES, Options, Progress, plan_of, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs once. Exit codes: 0 no violations, 1 a promise was broken, 2 it could not run."""
    given = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(1, 10**6) if given.seed is None else given.seed
    faults = (
        tuple(FAULTS) if given.faults == "all" else tuple(each for each in given.faults.split(",") if each in FAULTS)
    )
    options = Options(seed, given.seconds, given.routes, faults, given.lease_seconds)
    console = Console(stderr=True, highlight=False)
    folder = Path(given.folder or tempfile.mkdtemp(prefix="chaski-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    scope = "all namespaces" if options.everywhere else "named namespaces"
    console.print(f"seed {seed}: {options.routes} routes in {scope}, {options.seconds:g} s; {folder}")
    for line in plan_of(options):
        console.print(f"planned {line}")
    progress = Progress()
    try:
        work = run(options, folder, console.print, progress)
        evidence = asyncio.run(with_progress(work, console, None, lambda: _state(progress)))
    except (OSError, RuntimeError, TimeoutError, AssertionError, ExceptionGroup) as error:
        console.print(f"[red]could not run:[/red] {error!r}; logs are in {folder}")
        return 2
    violations = judge(evidence)
    report = summary(options, evidence, violations)
    print_report(Console(), f"chaos {seed}", report, ("counts", "faults", "requests hit"), slice(-40, None))
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=2))
    if not violations and not given.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if violations else 0


def summary(options: Options, evidence: Evidence, violations: Sequence[Violation]) -> dict[str, object]:
    """Counts, violations and the command to repeat the run, as JSON."""
    calls = [each for each in evidence.calls if each.by in evidence.operators]
    by_kind = Counter(each.kind for each in violations)
    leases = [each.holder for each in calls if each.is_lease and each.writes and each.succeeded]
    changes = sum(a != b for a, b in itertools.pairwise(leases))
    return {
        "seed": options.seed, "seconds": options.seconds, "repeat": repeat_command(options),
        "counts": {
            "routes made": len(evidence.lives),
            "changes": sum(len(each.versions) - 1 for each in evidence.lives),
            "routes deleted": sum(each.delete_sent is not None for each in evidence.lives),
            "deleted with their data": sum(each.deletes_data for each in evidence.lives),
            "requests of the operators": len(calls),
            "writes": sum(each.writes and not each.is_lease for each in calls),
            "most writes of a route for each spec": round(most_writes(evidence), 1),
            "changes of the holder": changes,
            "longest stall of this machine, s": round(evidence.longest_stall, 1),
            "seconds until settled": round(evidence.settled - evidence.faults_ended, 1),
        },
        "faults": dict(Counter(name.partition(":")[0] for name, *_ in evidence.disturbances)),
        "requests hit": dict(Counter(each.treatment for each in calls if each.treatment)),
        "found": {kind: by_kind[kind] for kind in KINDS},
        "violations": [
            {"kind": each.kind, "what": each.what, "text": each.text, "timeline": list(each.lines)}
            for each in violations
        ],
    }  # fmt: skip


def repeat_command(options: Options) -> str:
    """A shell command that repeats the run."""
    faults = "" if options.faults == tuple(FAULTS) else f" FAULTS='{','.join(options.faults) or 'none'}'"
    routes = "" if options.routes == ROUTES else f" ROUTES={options.routes}"
    lease = "" if options.lease_seconds == LEASE_SECONDS else f" LEASE={options.lease_seconds}"
    return f"make chaos SEED={options.seed} SECONDS={options.seconds:g}{routes}{lease}{faults}"


def _state(progress: Progress) -> tuple[str, float, str]:
    left = len(progress.left)
    detail = f"{progress.lives} routes, {progress.steps} steps, {progress.calls} requests, {left} left"
    return progress.phase, 0, detail


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Routes are made, changed and deleted while the API server is killed, hangs and refuses, connections are cut, "
        "operators die, and AWS throttles; a judge compares the end with an undisturbed operator's, and reads every request.",
        epilog="exit codes: 0 no violations, 1 a promise was broken, 2 it could not run",
    )
    parser.add_argument("--seconds", type=float, default=60, help="duration of load and faults (%(default)s)")
    parser.add_argument("--seed", type=int, help="seed of routes and faults (default: random; it is printed)")
    parser.add_argument("--routes", type=int, default=ROUTES, help="number of names of routes (%(default)s)")
    parser.add_argument(
        "--lease-seconds",
        type=int,
        default=LEASE_SECONDS,
        help="after which an operator takes over (%(default)s); more on a busy machine",
    )
    parser.add_argument("--faults", default="all", help=f"all, none, or some of {','.join(FAULTS)} (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the report, with every violation, as JSON")
    parser.add_argument("--folder", help="keep logs in this folder (default: kept only after a violation)")
    return parser
