"""Detects shortages of this process or its machine, as distinct from failures of a target.

A connection that could not be tried says nothing about its target. So it is not an attempt: nothing is counted, no step of
a ladder is taken, and the message waits (`delivery/attempt.py`).
"""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class ShortageReason(StrEnum):
    """Values of the label `reason` of `chaski_shortages_total`."""

    DESCRIPTORS = "descriptors"  # of this process or of the machine
    MEMORY = "memory"  # of this process, or the kernel's for sockets
    THREADS = "threads"  # for name resolution
    PORTS = "ports"  # of this machine, to one address
    RESOLVER = "resolver"  # the system's: it failed, or has no name server
    CERTIFICATE = "certificate"  # the rule's own CA bundle or client certificate can't be used
    CREDENTIALS = "credentials"  # the rule's own signing keys or credentials can't be used


#: Errors that arise before anything is sent, so the target has no part in them. EADDRNOTAVAIL has two meanings, and is
#: judged where it arises (`guard/addresses.py`).
BY_ERRNO = {
    errno.EMFILE: ShortageReason.DESCRIPTORS,
    errno.ENFILE: ShortageReason.DESCRIPTORS,
    errno.ENOBUFS: ShortageReason.MEMORY,
    errno.ENOMEM: ShortageReason.MEMORY,
    errno.EAGAIN: ShortageReason.MEMORY,  # a table of the kernel is full
}
#: EAI_AGAIN (the name server failed) and EAI_NONAME are the target's.
_BY_EAI = {socket.EAI_MEMORY: ShortageReason.MEMORY, socket.EAI_SYSTEM: ShortageReason.RESOLVER}
_NO_THREAD = "can't start new thread"  # CPython's text; the error is a plain RuntimeError
_NO_MEMORY = ("malloc failure", "MALLOC_FAILURE")  # OpenSSL's


_OF_ONE_TARGET = (ShortageReason.CERTIFICATE, ShortageReason.CREDENTIALS, ShortageReason.PORTS)


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource that is short."""

    reason: ShortageReason
    detail: str  # one line, with the fix where it is known
    target: str = "none"  # name of the allow rule whose request was not made

    @property
    def of_one_target(self) -> bool:
        """Whether requests under other rules are not affected."""
        return self.reason in _OF_ONE_TARGET


class ShortageError(Exception):
    """No attempt was made, because something of our own was short."""

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(shortage.detail)
        self.shortage = shortage


_DETAILS = {
    ShortageReason.DESCRIPTORS: "no descriptor is left for another connection: raise the limit on open files",
    ShortageReason.MEMORY: "no memory is left for another connection",
    ShortageReason.THREADS: "no thread can be started to resolve a name: raise the limit on processes",
    ShortageReason.PORTS: "no local port is left for another connection to one address",
    ShortageReason.RESOLVER: "the system's resolver failed",
}


def shortage_of(reason: ShortageReason, error: BaseException | None = None) -> Shortage:
    """A shortage with its description, and the system's text for the error."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    system_text = f" ({os.strerror(number)})" if number else ""
    return Shortage(reason, _DETAILS[reason] + system_text)


def shortage_in(error: BaseException) -> Shortage | None:
    """The shortage in an error or its causes; None where there is none."""
    for cause in causes(error):
        if isinstance(cause, ShortageError):
            return cause.shortage
        if (reason := _reason(cause)) is not None:
            return shortage_of(reason, cause)
    return None


def _reason(error: BaseException) -> ShortageReason | None:
    match error:
        case MemoryError():
            return ShortageReason.MEMORY
        case RuntimeError() if _NO_THREAD in str(error):
            return ShortageReason.THREADS
        case ssl.SSLError():  # its errno is OpenSSL's
            return ShortageReason.MEMORY if any(word in str(error) for word in _NO_MEMORY) else None
        case socket.gaierror():
            return _BY_EAI.get(error.errno or 0)
        case OSError():
            return BY_ERRNO.get(error.errno or 0)
        case _:
            return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause's cause and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__


def has_name_server(resolv_conf: str) -> bool:
    """Whether a resolv.conf(5) has a name server."""
    lines = (line.split() for line in resolv_conf.splitlines())
    return any(len(words) > 1 and words[0] == "nameserver" for words in lines)
