"""Tokens of ServiceAccounts that the kubelet renews while their Pods run."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from support.cluster.credentials import Renewal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.mark.promise(10)
def test_targets_get_the_token_that_the_kubelet_renewed(
    renewal: Future[Renewal], report: Callable[[str], None]
) -> None:
    """From the same Pod, at the first attempt, and after the first token has expired."""
    found = renewal.result(1500)
    assert found.pods_before == found.pods_after
    assert found.first != found.renewed
    assert found.requests == [(1, 200)]
    assert found.of_first is None
    assert found.of_renewed == found.of_first_before
    report(f"a token of 10 minutes was renewed after {found.seconds:.0f} s, without a restart and without a 401")
