"""The experiment, while one of three sets of workers is killed and another is paused every few seconds."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from chaski_cli.demo.experiment import EXPECTED, route_document
from chaski_cli.demo.target import ENDPOINTS
from support.faults.disrupted_workers import MAKERS, disrupted_cluster
from support.processes.dev import RecordingTarget, recording_target
from support.worker.experiment import answer, send

pytestmark = pytest.mark.landing


@pytest.mark.timeout(300)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@MAKERS
async def test_the_experiment_survives_kills_and_pauses(
    tmp_path: Path, maker: str, report: Callable[[str], None]
) -> None:
    """Three sets of workers, one killed, one paused repeatedly: repeats, each explained, and nothing else."""
    async with recording_target(answer) as target:
        target.count_arrivals = True
        document = route_document(target.url.rstrip("/"))
        async with disrupted_cluster(maker, tmp_path, document) as disrupted:
            await send(disrupted.http, disrupted.running.url, target)
            total = sum(row.requests for row in EXPECTED.values())
            report(
                await disrupted.finished(
                    target, lambda: len(attempts(target)) >= total, 240, (f"m{n:03}" for n in range(200))
                )
            )
            kept = Counter(letter.target for letter in (await disrupted.dead_letters()).values())
    requests = Counter(path for path, _, _ in attempts(target))
    assert requests == {endpoint: EXPECTED[endpoint].requests for endpoint in ENDPOINTS}
    assert kept == {endpoint: row.dead_letters for endpoint, row in EXPECTED.items() if row.dead_letters}
    firsts = dict.fromkeys(seen.label for seen in target.arrived if seen.attempt == 1)
    assert list(firsts) == [f"m{n:03}" for n in range(200)]


def attempts(target: RecordingTarget) -> set[tuple[str, str, int]]:
    """Endpoint, message and number of every attempt that arrived, once or more often."""
    return {(seen.path.strip("/"), seen.label, seen.attempt) for seen in target.arrived}
