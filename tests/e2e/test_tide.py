"""Workers that come and go with the work. It goes on beside the tests of other files, so this one is read after them."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from support.cluster.pods import Team
from support.cluster.scale_to_zero import OF_EACH, SUBJECTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


def test_workers_come_with_the_work_and_go_when_it_is_done(
    tide: Future[tuple[Team, int]], report: Callable[[str], None]
) -> None:
    """None, then several, then none again."""
    team, most = tide.result(1200)
    assert most > 1
    assert in_order(team.seen()["seen"]) == {f"tide-{n}": OF_EACH for n in range(SUBJECTS)}
    report(f"workers went 0 -> {most} -> 0 over {OF_EACH * SUBJECTS:,} messages of {SUBJECTS} subjects")
    team.end()


def in_order(seen: dict[str, list[int]]) -> dict[str, int]:
    """How many messages of each subject came, or -1 where a first arrival overtook an earlier message's."""
    first = {subject: list(dict.fromkeys(sequences)) for subject, sequences in seen.items()}
    return {subject: len(each) if each == sorted(each) else -1 for subject, each in first.items()}
