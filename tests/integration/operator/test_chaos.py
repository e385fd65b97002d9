"""The operator under faults of its API server and of AWS, with a random seed, which is printed: see tests/chaos."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.command import repeat_command
from chaos.judge import judge
from chaos.run import Options, Progress, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2_400)]  # waits for conditions, with deadlines of minutes

SHOWN = 5  # number of violations in the failure message
VARIABLE = "CHASKI_CHAOS_SEED"


@pytest.mark.promise(7)
@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("seconds", "routes", "lease_seconds"),
    [
        pytest.param(30.0, 12, 60, id="short"),  # among other tests a live holder must not lose the Lease
        *(pytest.param(600.0, 50, 15, id=f"long-{number}", marks=pytest.mark.slow) for number in range(3)),
    ],
)
async def test_no_promise_is_broken_while_api_server_and_aws_fail(
    seconds: float, routes: int, lease_seconds: int, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """The end is an undisturbed operator's; nothing foreign is touched, nothing deleted is made again, one operator writes."""
    seed = int(os.environ.get(VARIABLE) or random.SystemRandom().randrange(1, 10**6))
    options = Options(seed, seconds, routes, lease_seconds=lease_seconds)
    notes: list[str] = []
    evidence = await run(options, tmp_path, notes.append, Progress())
    violations = judge(evidence)
    report(
        f"seed {seed}: {len(evidence.lives)} routes made, {len(evidence.disturbances)} faults, {len(evidence.calls)} requests, "
        f"settled after {evidence.settled - evidence.faults_ended:.1f} s"
    )
    found = [f"{each.kind} {each.what}: {each.text}\n  " + "\n  ".join(each.lines) for each in violations[:SHOWN]]
    assert evidence.disturbances
    assert not violations, "\n".join([f"{len(violations)} violations", *found, *notes, repeat_command(options)])
