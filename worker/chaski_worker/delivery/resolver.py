"""Names to addresses, in threads of each target's own.

The loop's default threads are few and shared: one target whose name server hangs would hold them all, and with them
every other target.
"""

import asyncio
import encodings.idna  # noqa: F401 - getaddrinfo imports it at its first name, when there may be no descriptor for that
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from chaski_runtime.process import descriptors
from chaski_worker.shortage.classify import (
    BY_ERRNO,
    Shortage,
    ShortageError,
    ShortageReason,
    names_a_server,
    shortage_of,
)

_THREADS = 4  # per target; started as needed
_RESOLV_CONF = Path("/etc/resolv.conf")
_OF_THE_NAME = (socket.EAI_AGAIN, socket.EAI_NONAME)


class OwnThreadsResolver(AbstractResolver):
    """The system's resolver (getaddrinfo), for one target.

    Args:
        name: of the target.
        resolv_conf: where the system's name servers are.
    """

    def __init__(self, name: str, resolv_conf: Path = _RESOLV_CONF) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"dns-{name}")
        self._resolv_conf = resolv_conf

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a name.

        Raises:
            OSError: there is none, or its name server failed.
            ShortageError: it could not be asked for.
            RuntimeError: no thread could be started for it.
        """
        infos = await asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        """Lets go of the threads without waiting for a name server."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        except socket.gaierror as error:
            if error.errno in _OF_THE_NAME and (shortage := self._hidden_shortage(error)) is not None:
                raise ShortageError(shortage) from error
            raise
        except OSError as error:  # this is how CPython reports EAI_SYSTEM
            reason = BY_ERRNO.get(error.errno or 0, ShortageReason.RESOLVER)
            raise ShortageError(shortage_of(reason, error)) from error

    def _hidden_shortage(self, error: socket.gaierror) -> Shortage | None:
        if descriptors.are_short():
            return shortage_of(ShortageReason.DESCRIPTORS)
        if error.errno == socket.EAI_AGAIN and not self._has_name_server():
            return Shortage(ShortageReason.RESOLVER, f"{self._resolv_conf} names no name server")
        return None

    def _has_name_server(self) -> bool:
        try:
            return names_a_server(self._resolv_conf.read_text(errors="replace"))
        except OSError:
            return False  # the resolver can't read it either
