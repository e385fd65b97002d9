"""AWS emulated by moto: tags, policies, point-in-time recovery, deletion protection. Admin calls only; its FIFO is wrong."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from support.operator.provisioning import Counted, boto


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """An empty account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield Counted(boto())
