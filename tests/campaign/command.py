"""The command line of the campaign: flags, output, and the command to repeat a run."""

import argparse
import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console

from campaign.evidence import Evidence
from campaign.faults import NAMES
from campaign.judge import duplicated, judge, not_judged
from campaign.report import print_report, with_progress
from campaign.run import Options, Progress, keep, run
from campaign.violations import KINDS, Violation

PER_SECOND = 120  # default number of messages


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one campaign. Exit codes: 0 no violations, 1 a promise was broken, 2 it could not run."""
    given = _parser().parse_args(arguments)
    options = options_of(given)
    console = Console(stderr=True)
    folder = Path(given.folder or tempfile.mkdtemp(prefix="chaski-campaign-"))
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"seed {options.seed}: {options.backend}, {options.ordering}, {options.messages} messages; {folder}")
    progress = Progress()
    try:
        work = run(options, folder, console.print, progress)
        evidence = asyncio.run(with_progress(work, console, options.messages, lambda: _state(progress)))
    except (OSError, RuntimeError, TimeoutError, ExceptionGroup) as error:
        console.print(f"[red]could not run:[/red] {error!r}; logs are in {folder}")
        return 2
    violations = judge(evidence)
    keep(folder, evidence)
    report = summary(options, evidence, violations)
    title = f"campaign {options.seed} on {options.backend}, {options.ordering}"
    print_report(Console(), title, report, ("counts", "faults", "repeated deliveries", "ledger"), slice(40))
    if given.json:
        Path(given.json).write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    if not violations and not given.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if violations else 0


def options_of(given: argparse.Namespace) -> Options:
    """Options from the flags; defaults follow from the seed."""
    seed = random.SystemRandom().randrange(1, 10**6) if given.seed is None else given.seed
    ordering = given.ordering or random.Random(f"{seed}/ordering").choice(["Strict", "Relaxed"])
    faults = NAMES if given.faults == "all" else tuple(each for each in given.faults.split(",") if each != "none")
    messages = given.messages or round(given.seconds * PER_SECOND)
    return Options(seed, given.seconds, messages, given.backend, ordering.capitalize(), faults)


def summary(options: Options, evidence: Evidence, violations: Sequence[Violation]) -> dict[str, object]:
    """Counts, violations and the command to repeat the run, as JSON."""
    requests = evidence.requests
    by_kind = Counter(each.kind for each in violations)
    return {
        "seed": options.seed, "backend": options.backend, "ordering": options.ordering, "seconds": options.seconds,
        "repeat": repeat_command(options),
        "counts": {
            "accepted": sum(each.copies for each in evidence.sendings),
            "refused": sum(bool(each.refused) for each in evidence.sendings),
            "neither": sum(each.accepted is None and not each.refused for each in evidence.sendings),
            "unclear responses": sum(each.unclear for each in evidence.sendings),
            "reused ids": sum(bool(each.message.reuse) for each in evidence.sendings),
            "requests": len(requests),
            "messages delivered": len({each.token for each in requests if each.delivered}),
            "dead letters": len(evidence.dead_letters),
            "charges not judged because the machine stalled": not_judged(evidence),
        },
        "faults": dict(Counter(each.name.partition(" of ")[0] for each in evidence.disturbances)),
        "repeated deliveries": dict(duplicated(evidence)[1]),
        "ledger": dict(evidence.ledger or {}),
        "found": {kind: by_kind[kind] for kind in KINDS},
        "violations": [
            {"kind": each.kind, "token": each.token, "text": each.text, "timeline": each.lines} for each in violations
        ],
    }  # fmt: skip


def repeat_command(options: Options) -> str:
    """A shell command that repeats the run."""
    faults = "" if options.faults == NAMES else f" FAULTS={','.join(options.faults) or 'none'}"
    return (
        f"make campaign SEED={options.seed} SECONDS={options.seconds:g} MESSAGES={options.messages} "
        f"BACKEND={options.backend} ORDERING={options.ordering}{faults}"
    )


def _state(progress: Progress) -> tuple[str, float, str]:
    detail = f"{progress.accepted} accepted, {progress.requests} requests, {progress.left} left"
    return progress.phase, progress.given, detail


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description="Load, targets that record, faults drawn from a seed, and a separate judge: was any message lost, "
        "reordered, wrongly charged, duplicated without a cause, or not found?",
        epilog="exit codes: 0 no violations, 1 a promise was broken, 2 it could not run",
    )
    parser.add_argument("--seconds", type=float, default=60, help="duration of load and faults (%(default)s)")
    parser.add_argument("--seed", type=int, help="seed of messages and faults (default: random; it is printed)")
    parser.add_argument("--backend", choices=("embedded", "sqs"), default="embedded", help="default: %(default)s")
    parser.add_argument("--messages", type=int, help=f"number of messages (default: {PER_SECOND} a second)")
    parser.add_argument("--ordering", type=str.capitalize, choices=("Strict", "Relaxed"), help="default: from the seed")
    parser.add_argument("--faults", default="all", help=f"all, none, or some of {','.join(NAMES)} (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the report, with every violation, as JSON")
    parser.add_argument(
        "--folder", help="keep logs and recordings in this folder (default: kept only after a violation)"
    )
    return parser
