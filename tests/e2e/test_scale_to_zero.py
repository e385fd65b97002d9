"""Workers scale with the load. The scenario runs beside the tests of other files; this test reads its result after them."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from support.cluster.pods import TeamNamespace
from support.cluster.scale_to_zero import OF_EACH, SUBJECTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


def test_workers_scale_up_with_the_load_and_down_to_zero(
    scaling: Future[tuple[TeamNamespace, int]], report: Callable[[str], None]
) -> None:
    """From none to several to none."""
    team, most = scaling.result(1200)
    assert most > 1
    assert in_order(team.seen()["seen"]) == {f"s{n}": OF_EACH for n in range(SUBJECTS)}
    report(f"workers went 0 -> {most} -> 0 over {OF_EACH * SUBJECTS:,} messages of {SUBJECTS} subjects")
    team.end()


def in_order(seen: dict[str, list[int]]) -> dict[str, int]:
    """Number of messages of each subject, or -1 if a first arrival overtook that of an earlier message."""
    first = {subject: list(dict.fromkeys(sequences)) for subject, sequences in seen.items()}
    return {subject: len(each) if each == sorted(each) else -1 for subject, each in first.items()}
