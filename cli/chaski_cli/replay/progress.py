"""How far a replay is, for a program that watches it: by HTTP while it runs, in a file at the end.

The operator reads both of the Job's Pod: the file is the container's termination message, so a Job needs no right over
the cluster, and what it did is known when nobody reached it meanwhile.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from chaski_cli.errors import CommandError
from chaski_core import json_codec

_MAX_BYTES = 3_500  # a kubelet keeps 4,096 of a termination message
_MAX_TEXT = 1_000
_ABOUT_MESSAGES = ("sample", "reason", "resume")  # whoever reaches the port learns counts, and nothing of messages

Document = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ProgressReporting:
    """Whom a replay tells how far it is, besides the person at the terminal."""

    port: int | None = None  # serves GET /progress on all addresses: counts only
    report: Path | None = None  # file that gets the report at the end


@contextlib.asynccontextmanager
async def progress_server(port: int | None, document: Document) -> AsyncIterator[None]:
    """Serves the counts of what `document` says at the time of asking; nothing without a port.

    Raises:
        CommandError: the port can't be listened on.
    """
    if port is None:
        yield
        return

    async def progress(_: web.Request) -> web.Response:
        told = {name: value for name, value in document().items() if name not in _ABOUT_MESSAGES}
        return web.Response(body=json_codec.dumps(told), content_type="application/json")

    app = web.Application()
    app.router.add_get("/progress", progress)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - Pods are asked from outside
        except OSError as error:
            raise CommandError(f"--progress-port {port}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()


def write_report(file: Path | None, document: Mapping[str, Any]) -> None:
    """Writes a report, cut to what a termination message holds.

    Raises:
        CommandError: the file can't be written.
    """
    if file is None:
        return
    try:
        file.write_bytes(short_report(document))
    except OSError as error:
        raise CommandError(f"--report {file}: {error.strerror or error}") from error


def short_report(document: Mapping[str, Any]) -> bytes:
    """A report as JSON, without how to go on, and with no more of the sample than there is room for."""
    kept = {name: value for name, value in document.items() if name != "resume"}
    kept["reason"] = kept["reason"][:_MAX_TEXT] if kept.get("reason") else None
    sample = list(kept.get("sample") or ())
    while True:
        text = json_codec.dumps(kept | {"sample": sample})
        if len(text) <= _MAX_BYTES or not sample:
            return text
        sample.pop()
