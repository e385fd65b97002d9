"""Dead letters of several stores as one."""

import pytest

from chaski_console.merged import MergedLetters
from chaski_core.deadletter import DeadLetterFilter
from support.memory import Faults, MemoryStore
from unit.console.fakes import NOW, letter


async def stores() -> dict[str, MemoryStore]:
    """Two routes' stores, one of them twice as full, and an empty one."""
    made = {key: MemoryStore(Faults()) for key in ("n/a", "n/b", "n/c")}
    for number in range(6):
        await made["n/a"].put(letter(f"a-{number}", NOW + number * 10, route="n/a"))
    for number in range(3):
        await made["n/b"].put(letter(f"b-{number}", NOW + number * 20 + 5, route="n/b"))
    return made


async def test_they_come_oldest_first_over_all_stores() -> None:
    """None is left out, none comes twice."""
    merged = MergedLetters(await stores())
    found = [each async for each in merged.find(DeadLetterFilter())]
    assert [each.dead_lettered_at for each in found] == sorted(each.dead_lettered_at for each in found)
    assert len({each.id for each in found}) == len(found) == 9


async def test_only_the_store_of_a_named_route_is_asked() -> None:
    """The others may be away."""
    made = await stores()

    def refuse(_: DeadLetterFilter) -> None:
        raise AssertionError

    made["n/b"].find = refuse  # type: ignore[assignment,method-assign]  # fails when asked
    merged = MergedLetters(made)
    assert len([each async for each in merged.find(DeadLetterFilter(route="n/a"))]) == 6
    with pytest.raises(AssertionError):
        [each async for each in merged.find(DeadLetterFilter())]


async def test_every_store_is_asked_for_an_id() -> None:
    """Ids are made by producers, so two routes may have the same."""
    made = await stores()
    await made["n/b"].put(letter("a-0", NOW - 1, route="n/b"))
    assert [each.route for each in await MergedLetters(made).get("a-0")] == ["n/b", "n/a"]
