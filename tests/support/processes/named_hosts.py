"""Targets with host names: each on a loopback address of its own, all on one port, so that one wildcard rule covers them.

Processes find them through an `/etc/hosts` in a mount namespace of their own, which needs root.
"""

import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from aiohttp import web

from support.processes.dev import RecordingTarget
from support.tools import missing, need

SUFFIX = "hosts.example"
_HANG_SECONDS = 300.0
_SCRIPT = 'mount --bind "$0" /etc/hosts && exec "$@"'


class HostFault(StrEnum):
    """How a host fails."""

    REFUSED = "refused"  # nothing listens
    HANGING = "hanging"
    UNAVAILABLE = "unavailable"  # 503
    ASKS_TO_WAIT = "asks-to-wait"  # 429 with Retry-After


@dataclass
class NamedHost:
    """One host; it records what arrives."""

    name: str
    address: str
    port: int = 0
    answer_seconds: float = 0.0
    retry_after_seconds: int = 1
    fault: HostFault | None = None
    since: float = 0.0  # monotonic time of the last change of `fault`
    target: RecordingTarget = field(init=False)

    def __post_init__(self) -> None:
        self.target = RecordingTarget(self._answer, count_arrivals=True)
        self.target.headers_of_failures = {"Retry-After": str(self.retry_after_seconds)}
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0)
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """Of its root."""
        return f"http://{self.name}.{SUFFIX}:{self.port}/"

    async def start(self) -> int:
        """Listens; returns the port."""
        await self._runner.setup()
        await self._listen()
        return self.port

    async def fail(self, fault: HostFault | None) -> None:
        """Fails in this way from now on; None: it is well."""
        if self.fault is HostFault.REFUSED and fault is not HostFault.REFUSED:
            await self._listen()
        elif fault is HostFault.REFUSED and self._site is not None:
            await self._site.stop()
        self.fault, self.since = fault, time.monotonic()
        self.target.headers_of_failures = (
            {"Retry-After": str(self.retry_after_seconds)} if fault is HostFault.ASKS_TO_WAIT else {}
        )

    async def close(self) -> None:
        """Ends."""
        await self._runner.cleanup()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, self.address, self.port, backlog=1024)
        await self._site.start()
        self.port = self.port or self._runner.addresses[0][1]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.fault is HostFault.REFUSED and request.transport is not None:  # on a connection that was open
            request.transport.abort()
            return web.Response()
        return await self.target.handle(request)

    def _answer(self, *_: object) -> tuple[float, int]:
        match self.fault:
            case None:
                return self.answer_seconds, 200
            case HostFault.HANGING:
                return _HANG_SECONDS, 200
            case HostFault.ASKS_TO_WAIT:
                return self.answer_seconds, 429
            case _:
                return self.answer_seconds, 503


@contextlib.asynccontextmanager
async def named_hosts(number: int, *, answer_seconds: float = 0.0) -> AsyncIterator[list[NamedHost]]:
    """Hosts `h0`, `h1`, and so on."""
    hosts = [NamedHost(f"h{index}", f"127.0.77.{index + 1}", answer_seconds=answer_seconds) for index in range(number)]
    try:
        port = 0
        for host in hosts:
            host.port = port
            port = await host.start()
        yield hosts
    finally:
        for host in hosts:
            await host.close()


def with_names(hosts: list[NamedHost], file: Path, *command: str | Path) -> tuple[str, ...]:
    """A command that finds the hosts by their names. Skips the test where that is not possible."""
    unshare = need("unshare")
    if subprocess.run([unshare, "--mount", "true"], check=False, capture_output=True).returncode:
        missing("a mount namespace can't be created, which needs root")
    lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}.{SUFFIX}" for host in hosts)]
    file.write_text("\n".join(lines) + "\n")
    return (unshare, "--mount", "sh", "-c", _SCRIPT, str(file), *map(str, command))
