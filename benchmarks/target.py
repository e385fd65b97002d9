"""The target, a process of its own, and the bare handler that Chaski is compared with: reads a POST, answers 202.

`python -m benchmarks.target uvloop|asyncio` prints its URL and serves until it is terminated. `GET /report` returns the
requests since the last `POST /reset`.
"""

import asyncio
import sys
import time
from collections import defaultdict

import orjson
import uvloop
from aiohttp import web

from benchmarks.plan import HOT_ANSWER_MS
from benchmarks.traffic import MARK_HEADER


class Target:
    """Records the message of each request and its latency."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._first_at = self._last_at = 0.0
        self._latest: dict[tuple[str, int], int] = {}  # kind and subject -> number of the latest message
        self._seen: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._seconds: dict[str, list[float]] = defaultdict(list)  # from sent to here, by kind
        self._repeated = self._out_of_order = 0

    async def take(self, request: web.Request) -> web.Response:
        """Answers one request."""
        await request.read()
        kind = self._note(request.headers[MARK_HEADER])
        if kind == "hot":
            await asyncio.sleep(HOT_ANSWER_MS / 1000)
        return web.Response(status=202)

    def _note(self, mark: str) -> str:
        now = time.monotonic()
        kind, *numbers, sent = mark.split(" ")
        subject, number = (kind, int(numbers[0])), int(numbers[1])
        if number in self._seen[subject]:
            self._repeated += 1
            return kind
        if number != self._latest.get(subject, -1) + 1:
            self._out_of_order += 1
        self._latest[subject] = number
        self._seen[subject].add(number)
        self._seconds[kind].append(now - float(sent))
        self._first_at = self._first_at or now
        self._last_at = now
        return kind

    async def report(self, request: web.Request) -> web.Response:
        """The counts of requests; with `?latencies` also each message's latency."""
        report = {
            "counts": {kind: len(seconds) for kind, seconds in self._seconds.items()},
            "repeated": self._repeated,
            "out_of_order": self._out_of_order,
            "first_at": self._first_at,
            "last_at": self._last_at,
            "cpu_seconds": time.process_time() - self._cpu,
            "seconds": self._seconds if "latencies" in request.query else {},
        }
        return web.Response(body=orjson.dumps(report))

    async def reset(self, _: web.Request) -> web.Response:
        """Resets the report."""
        self.__init__()  # type: ignore[misc]  # the state of a new one
        return web.Response()


async def _serve() -> None:
    target = Target()
    app = web.Application()
    app.router.add_post("/", target.take)
    app.router.add_get("/report", target.report)
    app.router.add_post("/reset", target.reset)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}/\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Serves on the event loop of the argument."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
