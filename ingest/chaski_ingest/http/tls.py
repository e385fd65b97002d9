"""TLS of the port that takes messages."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from chaski_runtime.process.file_reloader import Contents, ReloadedFiles

_EVERY_SECONDS = 5.0


class ServerCertificate:
    """A TLS context with a certificate from files, which takes up a renewed one for connections made from then on."""

    def __init__(self, certificate: Path, key: Path, monotonic: Callable[[], float]) -> None:
        """Loads certificate and key.

        Args:
            certificate: chain in PEM.
            key: in PEM, without a password.
            monotonic: seconds.

        Raises:
            OSError: they can't be read, or don't belong together (ssl.SSLError).
            ValueError: one of them is not there.
        """
        self._files = certificate, key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["http/1.1"])
        self._watched = ReloadedFiles(self._files, self._load, monotonic, every_seconds=0.0)

    async def follow(self) -> None:
        """Looks for changes every five seconds, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            self.refresh()

    def refresh(self) -> None:
        """Takes up what has changed; what can't be used is told of, and changes nothing."""
        self._watched.value()

    def _load(self, contents: Contents) -> None:
        missing = [str(file) for file, content in zip(self._files, contents, strict=True) if content is None]
        if missing:
            raise ValueError(f"there is no {missing[0]}")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)  # on trial: the one in use stays whole
        self.context.load_cert_chain(*self._files)
