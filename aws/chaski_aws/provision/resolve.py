"""The resolved route that follows from what is there and what was made. Pure."""

from collections.abc import Collection, Mapping

from chaski_aws.provision.desired import Desired
from chaski_aws.provision.settings import RUNG_TAG
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_core.retry.ladder import Rung
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue


def resolved_route(
    wanted: Desired, observed: Observed, made: Mapping[str, str], dropped: Collection[str] = ()
) -> ResolvedRoute:
    """The document that ingest and workers read.

    Args:
        wanted: what must be there.
        observed: what was there before.
        made: URLs of the queues that were made since, by name.
        dropped: names of the queues that are deleted, or about to be.
    """
    urls = {name: queue.url for name, queue in observed.queues.items()} | dict(made)
    queues = {
        queue.name: tuple(urls[each.name] for each in wanted.queues if each.queue == queue.name)
        for queue in wanted.route.queues
    }
    gone = {observed.queues[name].url for name in dropped if name in observed.queues}
    older = (each.as_generation() for each in observed.generations if each.number != wanted.generation)
    draining = [each for each in older if any(url not in gone for held in each.queues.values() for url in held)]
    rungs = tuple(RungQueue(queue.rung, urls[queue.name]) for queue in wanted.queues if queue.rung is not None)
    retired = tuple(
        _retired(queue)
        for queue in observed.own_queues
        if RUNG_TAG in queue.tags and queue.name not in wanted.names and queue.name not in dropped
    )
    return ResolvedRoute(
        wanted.route, (*draining, Generation(wanted.generation, queues)), rungs, retired, wanted.table.name
    )


def _retired(queue: ObservedQueue) -> RungQueue:
    return RungQueue(Rung(queue.tags[RUNG_TAG], int(queue.attributes.get("DelaySeconds", "0"))), queue.url)
