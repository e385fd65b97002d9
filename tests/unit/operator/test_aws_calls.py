"""Calls to AWS with a low quota, in virtual time."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from chaski_operator.aws_calls import PacedAws


class Account:
    """Notes when it was called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen: Counter[tuple[str, int]] = Counter()  # operation and second

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """One call."""
        self.seen[operation, int(self.now)] += 1
        return {"service": service, **request}

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds


def test_a_start_with_200_routes_stays_below_the_quotas() -> None:
    """10 calls a second of ListTagsOfResource and DescribeContinuousBackups, 5 of TagResource; others are not delayed."""
    account = Account()
    aws = PacedAws(account, lambda: account.now, account.sleep)
    for number in range(200):
        assert aws.call("dynamodb", "ListTagsOfResource", {"n": number}) == {"service": "dynamodb", "n": number}
        aws.call("dynamodb", "DescribeContinuousBackups", {})
        if number < 20:
            aws.call("dynamodb", "TagResource", {})
    assert 20 <= account.now <= 30
    for (operation, _), calls in account.seen.items():
        assert calls <= (5 if operation == "TagResource" else 10)
    began = account.now
    for _ in range(100):
        aws.call("sqs", "GetQueueAttributes", {})
    assert account.now == began
