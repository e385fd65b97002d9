"""Looks at queues that take no new messages until it is sure that they are empty, or that they are not."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import Desired
from chaski_aws.provision.drain import Look, is_drained, look_at, seconds_until_drained
from chaski_aws.provision.observe import observe_queues
from chaski_aws.provision.settings import GENERATION_TAG
from chaski_aws.provision.state import Observed
from chaski_cli.output import stderr

_PAUSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Older queues, as they were found."""

    wanted: Desired
    observed: Observed


def watch_drained(
    aws: Aws,
    watch: Watch,
    *,
    wait: bool,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> frozenset[str]:
    """Names of the older queues that are empty for good.

    Queues that were fenced by this very run are left to a later one, and so is a generation of which one queue holds a
    message; where none is left, nobody waits.
    """
    old = [queue for queue in watch.observed.own_queues if queue.name not in watch.wanted.names]
    busy = {queue.tags.get(GENERATION_TAG, queue.name) for queue in old if not queue.fenced or queue.counts.total}
    names = {queue.name for queue in old if queue.tags.get(GENERATION_TAG, queue.name) not in busy}
    if not wait or not names:
        return frozenset()
    looks: dict[str, list[Look]] = {name: [] for name in names}
    deadline: float | None = None
    while True:
        found = observe_queues(aws, names)
        names = {name for name in names if name in found and not found[name].counts.total}
        for name in names:
            looks[name].append(look_at(found[name], now()))
        drained = frozenset(name for name in names if is_drained(looks[name]))
        if deadline is None:
            takes = seconds_until_drained([looks[name][0] for name in names], now())
            deadline = now() + takes + 2 * _PAUSE_SECONDS
            if names:
                stderr().print(f"looking for {takes:.0f} s whether {len(names)} older queues are empty", style="dim")
        if drained == names or now() >= deadline:
            return drained
        sleep(_PAUSE_SECONDS)
