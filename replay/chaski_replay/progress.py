"""Progress of a replay for programs: counts by HTTP while it runs, a report in a file at the end.

The operator reads both from the Job's Pod: the file is the container's termination message, so the Job needs no
Kubernetes permissions, and the outcome is known even if the HTTP endpoint was never reached.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from chaski_core import json_codec
from chaski_replay.report import PROGRESS_PATH, ReplayReport
from chaski_runtime.process import http_server
from chaski_runtime.process.command_error import CommandError


@dataclass(frozen=True, slots=True)
class ProgressReporting:
    """Where a replay reports its progress, besides the terminal."""

    port: int | None = None  # serves the counts on all addresses
    report: Path | None = None  # gets the report at the end


@contextlib.asynccontextmanager
async def progress_server(port: int | None, report: Callable[[], ReplayReport]) -> AsyncIterator[None]:
    """Serves the counts of the current report; does nothing without a port.

    Raises:
        CommandError: the port can't be listened on.
    """
    if port is None:
        yield
        return

    async def progress(_: web.Request) -> web.Response:
        return web.Response(body=json_codec.dumps(report().progress_document()), content_type="application/json")

    app = web.Application()
    app.router.add_get(PROGRESS_PATH, progress)
    try:
        # Not on loopback: the operator connects from another Pod.
        server = await http_server.start(app, http_server.EVERY_ADDRESS, port, stop_seconds=1.0)
    except OSError as error:
        raise CommandError(f"--progress-port {port}: {error.strerror or error}") from error
    try:
        yield
    finally:
        await server.close()


def write_report(file: Path | None, report: ReplayReport) -> None:
    """Writes the report as a termination message; does nothing without a file.

    Raises:
        CommandError: the file can't be written.
    """
    if file is None:
        return
    try:
        file.write_bytes(report.termination_message())
    except OSError as error:
        raise CommandError(f"--report {file}: {error.strerror or error}") from error
