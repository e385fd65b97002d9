"""Merging the dead letters of several stores."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from chaski_console.data.dead_letter_index import CombinedDeadLetters, SingleStore
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.errors import BackendUnavailableError
from support.worker.memory_backend import Faults, MemoryStore, unavailable
from unit.console.fakes import NOW, dead_letter


class FlakyStore(MemoryStore):
    """A store that the test makes unavailable."""

    is_unavailable = False

    async def find(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        """See `ports.DeadLetterStore`."""
        if self.is_unavailable:
            raise unavailable()
        async for each in super().find(wanted):
            yield each

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """See `ports.DeadLetterStore`."""
        if self.is_unavailable:
            raise unavailable()
        return await super().get(message_id)


async def stores() -> dict[str, FlakyStore]:
    """Stores of three routes, with six, three and no dead letters."""
    made = {key: FlakyStore(Faults()) for key in ("n/a", "n/b", "n/c")}
    for number in range(6):
        await made["n/a"].put(dead_letter(f"a-{number}", NOW + number * 10, route="n/a"))
    for number in range(3):
        await made["n/b"].put(dead_letter(f"b-{number}", NOW + number * 20 + 5, route="n/b"))
    return made


def combine(made: dict[str, FlakyStore]) -> CombinedDeadLetters:
    """All stores as one."""
    return CombinedDeadLetters(lambda: made)


async def test_results_of_all_stores_are_merged_oldest_first() -> None:
    """Each exactly once."""
    combined = combine(await stores())
    found = [each async for each in combined.find(DeadLetterFilter())]
    assert [each.dead_lettered_at for each in found] == sorted(each.dead_lettered_at for each in found)
    assert len({each.id for each in found}) == len(found) == 9


async def test_a_search_for_a_route_reads_only_its_store() -> None:
    """The others may be unavailable."""
    made = await stores()

    def refuse(_: DeadLetterFilter) -> None:
        raise AssertionError

    made["n/b"].find = refuse  # type: ignore[assignment,method-assign]  # fails when called
    combined = combine(made)
    assert len([each async for each in combined.find(DeadLetterFilter(route="n/a"))]) == 6
    with pytest.raises(AssertionError):
        [each async for each in combined.find(DeadLetterFilter())]


async def test_a_lookup_by_id_reads_every_store() -> None:
    """Producers choose ids, so two routes may have the same one."""
    made = await stores()
    await made["n/b"].put(dead_letter("a-0", NOW - 1, route="n/b"))
    assert [each.route for each in await combine(made).get("a-0")] == ["n/b", "n/a"]
    assert [each.route for each in await combine(made).get("a-0", "n/a")] == ["n/a"]
    one = SingleStore(made["n/b"])
    assert [len(await one.get("a-0", route)) for route in (None, "n/b", "n/a")] == [1, 1, 0]


@pytest.mark.promise(9)
async def test_an_unavailable_store_hides_no_other() -> None:
    """Its route is reported while it is unavailable; the search fails only if every store does."""
    made = await stores()
    combined = combine(made)
    made["n/a"].is_unavailable = True
    assert [each.id async for each in combined.find(DeadLetterFilter())] == ["b-0", "b-1", "b-2"]
    assert list(combined.unreadable()) == ["n/a"]
    assert await combined.get("a-0") == []
    with pytest.raises(BackendUnavailableError):
        [each async for each in combined.find(DeadLetterFilter(route="n/a"))]
    made["n/a"].is_unavailable = False
    assert len([each async for each in combined.find(DeadLetterFilter())]) == 9
    assert combined.unreadable() == {}
    for each_store in made.values():
        each_store.is_unavailable = True
    with pytest.raises(BackendUnavailableError):
        await combined.get("a-0")


async def test_a_store_that_fails_during_a_search_is_reported() -> None:
    """Its earlier results are kept, and the other stores are read to the end."""
    made = await stores()

    async def breaking(_: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        yield dead_letter("a-0", NOW, route="n/a")
        raise unavailable()

    made["n/a"].find = breaking  # type: ignore[method-assign]  # fails in the middle
    combined = combine(made)
    assert [each.id async for each in combined.find(DeadLetterFilter())] == ["a-0", "b-0", "b-1", "b-2"]
    assert list(combined.unreadable()) == ["n/a"]


async def test_routes_may_be_deleted_during_a_search() -> None:
    """The search ends normally; nothing is reported about deleted routes."""
    made = await stores()
    combined = combine(made)
    made["n/a"].is_unavailable = True
    found = []
    async for each in combined.find(DeadLetterFilter()):
        found.append(each.id)
        made.pop("n/a", None)
    assert found == ["b-0", "b-1", "b-2"]
    await combined.get("b-0")
    assert combined.unreadable() == {}
