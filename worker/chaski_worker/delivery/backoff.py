"""How long to wait before a backend is called again."""

import math

_BASE_SECONDS = 0.1
_CAP_SECONDS = 20.0


def backoff_seconds(failures: int, random: float) -> float:
    """Exponential with equal jitter: between half and all of min(20 s, 0.1 s x 2^(failures - 1)).

    Args:
        failures: consecutive failures, from 1.
        random: in [0, 1).
    """
    ceiling = min(_CAP_SECONDS, math.ldexp(_BASE_SECONDS, min(failures - 1, 30)))
    return ceiling * (0.5 + random / 2)
