"""The queues that a worker polls, and the names of their gauges."""

import dataclasses

from chaski_core.retry.policy import Rung
from chaski_core.route.resolved import Generation, RungQueue
from chaski_worker.consumer.queue_groups import first_attempt_groups, gauge_urls, retry_group
from support.worker.harness import make_route, resolve


def test_retired_rungs_and_older_generations_are_still_polled() -> None:
    """Each queue that may hold a message has a consumer; gauges are by declared name."""
    resolved = dataclasses.replace(
        resolve(make_route()),
        generations=(Generation(1, {"old": ("u0",)}), Generation(2, {"messages": ("u1", "u2")})),
        retired_rungs=(RungQueue(Rung("gone", 9), "u9"),),
    )
    assert [[line.name for line in lines] for lines in first_attempt_groups(resolved)] == [["old"], ["messages"]]
    assert [[line.name for line in lines] for lines in first_attempt_groups(resolved, "messages")] == [[], ["messages"]]
    line = retry_group(resolved)
    assert line is not None
    assert "u9" in line.urls
    assert {"old", "messages", "rung-fast", "rung-medium", "rung-gone"} == set(gauge_urls(resolved))
