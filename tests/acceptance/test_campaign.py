"""Two minutes of the campaign: one on each backend, with all faults and a random seed, which is printed."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.command import repeat_command
from campaign.faults import NAMES
from campaign.judge import duplicated, judge
from campaign.run import Options, Progress, keep, run

pytestmark = pytest.mark.landing

SECONDS, MESSAGES = 60.0, 3_000
SHOWN = 5  # number of violations in the failure message
VARIABLE = "CHASKI_CAMPAIGN_SEED"


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["embedded", "sqs"])
async def test_no_promise_is_broken_under_all_faults(
    backend: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """No message is lost, reordered, wrongly charged, repeated without a cause, or not found."""
    seed = int(os.environ.get(VARIABLE) or random.SystemRandom().randrange(1, 10**6))
    ordering = "Strict" if seed % 2 == (backend == "sqs") else "Relaxed"  # each run has both
    options = Options(seed, SECONDS, MESSAGES, backend, ordering, NAMES)
    notes: list[str] = []
    evidence = await run(options, tmp_path, notes.append, Progress())
    keep(tmp_path, evidence)
    impossible = [each for each in notes if each.startswith("impossible here") and "only the embedded" not in each]
    if impossible and os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, and {impossible}")
    violations = judge(evidence)
    accepted = sum(each.copies for each in evidence.sendings)
    report(
        f"seed {seed}, {ordering}: {accepted} accepted, {len(evidence.requests)} requests, {len(evidence.dead_letters)} dead "
        f"letters, {sum(duplicated(evidence)[1].values())} repeats, {len(evidence.disturbances)} disturbances"
    )
    found = [f"{each.kind} {each.token}: {each.text}\n  " + "\n  ".join(each.lines) for each in violations[:SHOWN]]
    assert accepted > MESSAGES / 2
    assert not violations, "\n".join([f"{len(violations)} violations", *found, *notes, repeat_command(options)])
