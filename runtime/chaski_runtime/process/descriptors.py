"""The limit of open files and sockets of this process."""

import contextlib
import errno
import os
import resource

_RESERVED = 64  # kept for everything but deliveries: name servers, queues, the store, metrics, incoming connections
_RESERVED_SHARE = 4  # but never more than this part of the whole
_PROBED = 4  # descriptors that the lookup of a name, or of an issuer's certificate, may need at once


def raise_limit() -> None:
    """Raises the soft limit to the hard one: the default of 1,024 is for programs that use select(2), unlike this one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Where the system refuses the hard limit (macOS, where it is "unlimited"), the soft one stays.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int | None:
    """The soft limit; None: unlimited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def ceiling(most: int | None) -> int | None:
    """The lowest descriptor that is kept for other uses than deliveries.

    A new descriptor is always the lowest free number (POSIX.1-2024, XSH 2.6), so a descriptor that reaches the ceiling
    shows that all lower ones are in use.

    Args:
        most: the limit; None: unlimited, and no ceiling.
    """
    return None if most is None else most - min(_RESERVED, most // _RESERVED_SHARE)


def are_short() -> bool:
    """Whether even a few more files can't be opened now.

    For failures whose error does not show this cause: glibc reports a file that it could not open as a name that does not
    exist or a name server that failed, OpenSSL as a certificate without an issuer.
    """
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_PROBED))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False
