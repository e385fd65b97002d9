"""How many files and sockets this process may have open."""

import contextlib
import errno
import os
import resource

_RESERVED = 64  # kept for all that is not a delivery: name servers, queues, the store, metrics, incoming connections
_RESERVED_SHARE = 4  # but never more than this part of the whole
_PROBED = 4  # what the lookup of a name, or of an issuer's certificate, may need at once


def raise_limit() -> None:
    """Raises the soft limit to the hard one: 1,024 is a default for programs that use select(2), which this one is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Where the system does not take the hard limit (macOS, where that is "unlimited"), the soft one stays.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int | None:
    """The soft limit; None where there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def ceiling(most: int | None) -> int | None:
    """The number from which on descriptors are kept for other uses than deliveries.

    A new descriptor is always the lowest number that is free (POSIX.1-2024, XSH 2.6), so one that reaches the ceiling
    shows that all below it are taken.

    Args:
        most: the limit; None: there is none, and no ceiling.
    """
    return None if most is None else most - min(_RESERVED, most // _RESERVED_SHARE)


def are_short() -> bool:
    """Whether not even a few more files can be opened now.

    For failures whose error does not show it: glibc reports a file of its own that it could not open as a name that
    does not exist or a name server that failed, OpenSSL as a certificate without an issuer.
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
