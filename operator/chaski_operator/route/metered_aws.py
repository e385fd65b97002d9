"""Counts the calls to AWS."""

from collections.abc import Callable, Mapping
from typing import Any

from chaski_aws.provision.clients import Aws
from chaski_aws.provision.errors import ProvisionError

Count = Callable[[str, str, str], None]  # service, operation, result


class MeteredAws:
    """Implements `Aws` by another one, and counts. Threads may share it: a count is one addition."""

    def __init__(self, aws: Aws, count: Count) -> None:
        self._aws = aws
        self._count = count

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """As `Aws.call`."""
        try:
            answer = self._aws.call(service, operation, request)
        except ProvisionError as error:
            self._count(service, operation, error.code)
            raise
        self._count(service, operation, "ok")
        return answer
