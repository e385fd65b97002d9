"""Calls to AWS, counted, and paced where an account may make only a few of them a second."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from chaski_aws.provision.clients import Aws
from chaski_aws.provision.errors import ProvisionError

# Calls a second in an account and Region: API_ListTagsOfResource, API_TagResource, API_DescribeContinuousBackups of DynamoDB.
_QUOTAS = {"ListTagsOfResource": 10.0, "DescribeContinuousBackups": 10.0, "TagResource": 5.0, "UntagResource": 5.0}
_SHARE = 0.8  # of a quota; the rest is for other programs


class PacedAws:
    """An `Aws` that makes calls with a low quota one after another. Threads may share it; a call waits in its thread.

    A throttled call is tried again by every thread at the same time, and fails at last; so after a start with hundreds of routes
    most of them would report an error.
    """

    def __init__(self, aws: Aws, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Makes no call yet. `monotonic`: seconds; `sleep`: blocks the thread for some seconds."""
        self._aws = aws
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at: dict[str, float] = {}  # by operation, monotonic

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Implements `Aws.call`."""
        quota = _QUOTAS.get(operation)
        if quota is not None and (seconds := self._reserve(operation, 1 / (quota * _SHARE))) > 0:
            self._sleep(seconds)
        return self._aws.call(service, operation, request)

    def _reserve(self, operation: str, interval: float) -> float:
        """Takes the next turn of an operation; returns the seconds until then."""
        with self._lock:
            now = self._monotonic()
            at = max(now, self._free_at.get(operation, now))
            self._free_at[operation] = at + interval
        return at - now


class MeteredAws:
    """An `Aws` that counts the calls of another one. Threads may share it: a count is one addition."""

    def __init__(self, aws: Aws, count: Callable[[str, str, str], None]) -> None:
        self._aws = aws
        self._count = count  # service, operation, result

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Implements `Aws.call`."""
        try:
            response = self._aws.call(service, operation, request)
        except ProvisionError as error:
            self._count(service, operation, error.code)
            raise
        self._count(service, operation, "ok")
        return response
