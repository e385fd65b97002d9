"""Dead letters of several stores as one."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from chaski_console.data.dead_letter_index import CombinedDeadLetters, SingleStore
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.errors import BackendUnavailableError
from support.worker.memory_backend import Faults, MemoryStore, unavailable
from unit.console.fakes import NOW, letter


class Moody(MemoryStore):
    """A store that may be away."""

    gone = False

    async def find(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        """As the port says."""
        if self.gone:
            raise unavailable()
        async for each in super().find(wanted):
            yield each

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """As the port says."""
        if self.gone:
            raise unavailable()
        return await super().get(message_id)


async def stores() -> dict[str, Moody]:
    """Two routes' stores, one of them twice as full, and an empty one."""
    made = {key: Moody(Faults()) for key in ("n/a", "n/b", "n/c")}
    for number in range(6):
        await made["n/a"].put(letter(f"a-{number}", NOW + number * 10, route="n/a"))
    for number in range(3):
        await made["n/b"].put(letter(f"b-{number}", NOW + number * 20 + 5, route="n/b"))
    return made


def merging(made: dict[str, Moody]) -> CombinedDeadLetters:
    """All of them as one."""
    return CombinedDeadLetters(lambda: made)


async def test_they_come_oldest_first_over_all_stores() -> None:
    """None is left out, none comes twice."""
    merged = merging(await stores())
    found = [each async for each in merged.find(DeadLetterFilter())]
    assert [each.dead_lettered_at for each in found] == sorted(each.dead_lettered_at for each in found)
    assert len({each.id for each in found}) == len(found) == 9


async def test_only_the_store_of_a_named_route_is_asked() -> None:
    """The others may be away."""
    made = await stores()

    def refuse(_: DeadLetterFilter) -> None:
        raise AssertionError

    made["n/b"].find = refuse  # type: ignore[assignment,method-assign]  # fails when asked
    merged = merging(made)
    assert len([each async for each in merged.find(DeadLetterFilter(route="n/a"))]) == 6
    with pytest.raises(AssertionError):
        [each async for each in merged.find(DeadLetterFilter())]


async def test_every_store_is_asked_for_an_id() -> None:
    """Ids are made by producers, so two routes may have the same."""
    made = await stores()
    await made["n/b"].put(letter("a-0", NOW - 1, route="n/b"))
    assert [each.route for each in await merging(made).get("a-0")] == ["n/b", "n/a"]
    assert [each.route for each in await merging(made).get("a-0", "n/a")] == ["n/a"]
    one = SingleStore(made["n/b"])
    assert [len(await one.get("a-0", route)) for route in (None, "n/b", "n/a")] == [1, 1, 0]


@pytest.mark.promise(9)
async def test_a_store_that_is_away_hides_no_other() -> None:
    """What is missing is told for as long as it is; only if nothing can be read at all the search fails."""
    made = await stores()
    merged = merging(made)
    made["n/a"].gone = True
    assert [each.id async for each in merged.find(DeadLetterFilter())] == ["b-0", "b-1", "b-2"]
    assert list(merged.missing()) == ["n/a"]
    assert await merged.get("a-0") == []
    with pytest.raises(BackendUnavailableError):
        [each async for each in merged.find(DeadLetterFilter(route="n/a"))]
    made["n/a"].gone = False
    assert len([each async for each in merged.find(DeadLetterFilter())]) == 9
    assert merged.missing() == {}
    for each_store in made.values():
        each_store.gone = True
    with pytest.raises(BackendUnavailableError):
        await merged.get("a-0")


async def test_a_store_that_goes_away_in_the_middle_is_told() -> None:
    """What it gave before stays, and the others go on."""
    made = await stores()

    async def breaking(_: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        yield letter("a-0", NOW, route="n/a")
        raise unavailable()

    made["n/a"].find = breaking  # type: ignore[method-assign]  # fails in the middle
    merged = merging(made)
    assert [each.id async for each in merged.find(DeadLetterFilter())] == ["a-0", "b-0", "b-1", "b-2"]
    assert list(merged.missing()) == ["n/a"]


async def test_routes_may_go_while_a_search_runs() -> None:
    """What is asked is asked to its end; nothing is told of routes that are gone."""
    made = await stores()
    merged = merging(made)
    made["n/a"].gone = True
    found = []
    async for each in merged.find(DeadLetterFilter()):
        found.append(each.id)
        made.pop("n/a", None)
    assert found == ["b-0", "b-1", "b-2"]
    await merged.get("b-0")
    assert merged.missing() == {}
