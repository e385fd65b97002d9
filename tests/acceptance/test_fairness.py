"""Subjects whose target hangs, more of them than there are slots, and healthy subjects under the same rule."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from support.processes.dev import Seen, dev_server, recording_target, route, send_batch, wait_until

BAD, HEALTHY, SLOTS, TIMEOUT = 200, 20, 64, 5
# A healthy subject waits at most until every subject before it had its turn, and some for the machine.
WITHIN = BAD / SLOTS * TIMEOUT + 15


def answer(path: str, _message_id: str, _attempt: int) -> tuple[float, int]:
    """The target of a bad subject responds long after the timeout."""
    return (60.0, 200) if path == "/bad" else (0.0, 200)


@pytest.mark.promise(9)
async def test_failing_subjects_starve_no_healthy_one(tmp_path: Path, report: Callable[[str], None]) -> None:
    """Strict: 200 hanging subjects on 64 slots; 20 later ones are delivered as soon as the queue has moved once."""
    async with recording_target(answer) as target:
        target.count_arrivals = True
        spec = {
            "ordering": "Strict",
            "queues": [{"name": "messages", "partitions": 1}],
            "delivery": {"timeoutSeconds": TIMEOUT, "concurrencyPerPod": SLOTS},
            "retry": {
                "rungs": [{"name": "fast", "delaySeconds": 1}],
                "ladders": [{"class": "any", "retriesPerRung": 100, "rungs": ["fast"]}],
            },
        }
        async with dev_server(tmp_path, route("fair", target.url, **spec)) as server, aiohttp.ClientSession() as http:
            bad = [{"subject": f"bad-{n}", "body": {"url": f"{target.url}bad"}} for n in range(BAD)]
            await send_batch(http, server.url, "t/fair", bad)
            await asyncio.sleep(8)  # every slot is taken, and the first heads were redelivered
            assert len(target.arrived) > SLOTS
            healthy = [{"subject": f"good-{n}", "body": {"url": f"{target.url}good"}} for n in range(HEALTHY)]
            begun = time.monotonic()
            await send_batch(http, server.url, "t/fair", healthy)
            try:
                await wait_until(lambda: len(_delivered(target.seen)) == HEALTHY, WITHIN)
            except TimeoutError:
                delivered, tried = len(_delivered(target.seen)), len(target.arrived)
                pytest.fail(f"{delivered} of {HEALTHY} within {WITHIN:.0f} s, beside {tried} requests in all")
            report(
                f"{HEALTHY} of {HEALTHY} after {time.monotonic() - begun:.1f} s, beside {len(target.arrived)} requests"
            )
            await asyncio.wait_for(server.stop(), 60)


def _delivered(seen: Sequence[Seen]) -> list[Seen]:
    return [each for each in seen if each.path == "/good"]
