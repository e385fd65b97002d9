import pytest

from chaski_ingest.budget import Budget


@pytest.mark.promise(12)
def test_what_does_not_fit_is_refused_until_there_is_room() -> None:
    """Both the number of things and their bytes are bounded."""
    budget = Budget(things=2, size=10)
    assert budget.reserve(6)
    assert not budget.reserve(5)
    assert budget.reserve(4)
    assert not budget.reserve(0)
    budget.release(6)
    assert budget.reserve(6)
    assert (budget.things_held, budget.bytes_held) == (2, 10)
