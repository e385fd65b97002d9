"""The ingest on a port of its own, from start to drain."""

from aiohttp import web

from chaski_ingest.app import Ingest

_BACKLOG = 1_024  # connections that the kernel holds for us while the loop is busy


class IngestServer:
    """Listens, and stops without losing a request."""

    def __init__(self, ingest: Ingest) -> None:
        """Serves `ingest` once started."""
        self._ingest = ingest
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens, and returns the real port where 0 was asked for.

        Raises:
            OSError: the address can't be listened on.
        """
        settings = self._ingest.settings
        runner = web.AppRunner(
            self._ingest.application(),
            access_log=None,  # metrics count requests; a line for each would cost more than the request
            keepalive_timeout=settings.keep_alive_seconds,
            shutdown_timeout=settings.drain_seconds,
            auto_decompress=False,  # compressed bodies are refused, so none is unpacked
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return int(runner.addresses[0][1])

    def ready(self) -> str | None:
        """None while requests are taken, else why not: for `/readyz`."""
        if self._ingest.draining:
            return "draining"
        return None if self._runner is not None else "not started"

    async def drain(self) -> None:
        """Stops listening, answers 503 on connections that are still open, and waits for what is under way.

        Takes at most the settings' `drain_seconds`, twice in the extreme: then what is left is cut off, unanswered.
        """
        self._ingest.draining = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._ingest.drain()
