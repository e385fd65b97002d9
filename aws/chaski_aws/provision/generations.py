"""Which maps from subjects to queues there are, read back from the tags of the queues. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaski_aws.provision.settings import GENERATION_TAG, MAP_TAG, PARTITION_TAG, QUEUE_TAG
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation, map_fingerprint


@dataclass(frozen=True, slots=True)
class KnownGeneration:
    """A map of which at least one queue is there. One whose making was cut short lacks some."""

    number: int
    map: str  # fingerprint of the route's map when it was made; "" where its queues do not say or agree
    queues: Mapping[str, Mapping[int, str]]  # queue -> partition -> URL

    def as_generation(self) -> Generation:
        """The same as a resolved route names it."""
        return Generation(
            self.number, {name: tuple(urls[index] for index in sorted(urls)) for name, urls in self.queues.items()}
        )


def generations_of(tags: Mapping[str, Mapping[str, str]]) -> tuple[KnownGeneration, ...]:
    """The generations of one route, oldest first.

    Args:
        tags: by URL, of the route's own queues; those of rungs are left out.
    """
    queues: dict[int, dict[str, dict[int, str]]] = {}
    maps: dict[int, set[str]] = {}
    for url, tagged in tags.items():
        place = _place(tagged)
        if place is not None:
            number, queue, index = place
            queues.setdefault(number, {}).setdefault(queue, {})[index] = url
            maps.setdefault(number, set()).update({tagged[MAP_TAG]} if MAP_TAG in tagged else ())
    return tuple(
        KnownGeneration(number, maps[number].pop() if len(maps[number]) == 1 else "", queues[number])
        for number in sorted(queues)
    )


def number_for(route: Route, known: Sequence[KnownGeneration]) -> int:
    """The generation that takes new messages: the newest one if it has this map, else one more."""
    if not known:
        return 1
    newest = known[-1]
    return newest.number if newest.map == map_fingerprint(route) else newest.number + 1


def _place(tagged: Mapping[str, str]) -> tuple[int, str, int] | None:
    try:
        return int(tagged[GENERATION_TAG]), tagged[QUEUE_TAG], int(tagged[PARTITION_TAG])
    except (KeyError, ValueError):
        return None
