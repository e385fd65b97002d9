"""Whether this process may have as many connections as its route asks for."""

from chaski_runtime.process import descriptors

_OF_THE_PROCESS = 32  # descriptors that a worker has open before it delivers anything, of `chaski dev` as well


def too_few_descriptors(concurrency: int, lines: int, limit: int | None) -> str | None:
    """What is wrong with the limit on open files, and how to fix it; None where it is high enough.

    Args:
        concurrency: `delivery.concurrencyPerPod`; each attempt takes one descriptor.
        lines: that make so many attempts each.
        limit: of this process; None: there is none.
    """
    ceiling = descriptors.ceiling(limit)
    if ceiling is None:
        return None
    possible = max(1, ceiling - _OF_THE_PROCESS)
    if concurrency * lines <= possible:
        return None
    return (
        f"delivery.concurrencyPerPod {concurrency} needs up to {concurrency * lines} connections at once, and the limit of"
        f" {limit} open files leaves {possible}: messages will wait for descriptors. Raise the hard limit (ulimit -Hn,"
        f" LimitNOFILE= of systemd, the container runtime's), or set concurrencyPerPod to {max(1, possible // lines)}"
    )
