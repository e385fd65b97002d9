"""Queues of a route, and their changes with the route."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.errors import BackendUnavailableError, RouteConflictError
from chaski_core.ports import OutgoingMessage
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import AllowRule, Delivery, Ordering, QueueSpec, Route, Suspend
from chaski_core.route.resolved import ResolvedRoute
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker import housekeeping
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.provision import drop_drained, resolve
from support.clocks import SteppedClock
from support.dead_letters.builder import a_dead_letter

Open = Callable[[], Awaitable[EmbeddedBroker]]
FAST, SLOW = Rung("fast", 5), Rung("slow", 900)
ROUTE = Route(
    namespace="ns",
    name="r",
    ordering=Ordering.RELAXED,
    queues=(QueueSpec("urgent", 1, ("u_*",)), QueueSpec("messages", 2)),
    allow=(AllowRule("t", "http://t.example/"),),
    delivery=Delivery(),
    retry=RetryPolicy((FAST, SLOW), (Ladder("5xx", 1, ("fast", "slow")),)),
    retention_days=3,
    producers=(),
    subject_group=None,
    suspend=Suspend(),
    document={"kind": "ChaskiRoute"},
)
WIDER = replace(ROUTE, queues=(QueueSpec("messages", 4),))


async def put(broker: EmbeddedBroker, url: str, name: str = "a1") -> None:
    """Sends a message to a queue."""
    await broker.queue(url).send([OutgoingMessage(b"x", name[0], name)])


async def empty(broker: EmbeddedBroker, url: str) -> None:
    """Receives and deletes all messages of a queue."""
    queue = broker.queue(url)
    while batch := await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id=""):
        await queue.delete([message.receipt_handle for message in batch])


def urls(resolved: ResolvedRoute) -> set[str]:
    """Every queue of a resolved route."""
    found = {url for generation in resolved.generations for queue in generation.queues.values() for url in queue}
    return found | {each.url for each in (*resolved.rungs, *resolved.retired_rungs)}


async def test_route_gets_a_queue_for_each_partition_and_rung(broker: EmbeddedBroker) -> None:
    """With the attributes that order, deduplication and retention need, and no other queue."""
    resolved = await resolve(broker, ROUTE)
    assert [(each.number, {name: len(got) for name, got in each.queues.items()}) for each in resolved.generations] == [
        (1, {"urgent": 1, "messages": 2})
    ]
    assert [each.rung for each in resolved.rungs] == [FAST, SLOW]
    assert set(await broker.list_queues()) == urls(resolved)
    delays = set()
    for url in urls(resolved):
        attributes = await broker.attributes(url)
        assert attributes["DeduplicationScope"] == "messageGroup"
        assert attributes["MessageRetentionPeriod"] == "1209600"
        assert attributes["VisibilityTimeout"] == "120"
        assert attributes["MaximumMessageSize"] == "327680"
        delays.add(attributes["DelaySeconds"])
    assert delays == {"0", "5", "900"}


async def test_strict_route_has_no_rung_queues(broker: EmbeddedBroker) -> None:
    """In Strict the head waits in its own queue."""
    resolved = await resolve(broker, replace(ROUTE, ordering=Ordering.STRICT))
    assert resolved.rungs == ()
    assert len(await broker.list_queues()) == 3


async def test_resolving_again_changes_nothing(open_broker: Open) -> None:
    """Also after a restart, and with messages on every queue."""
    broker = await open_broker()
    first = await resolve(broker, ROUTE)
    for url in urls(first):
        await put(broker, url)
    assert await resolve(broker, ROUTE) == first
    await broker.close()
    assert await resolve(await open_broker(), ROUTE) == first


@pytest.mark.promise(3)
async def test_changed_map_creates_a_generation_and_the_old_one_drains_first(broker: EmbeddedBroker) -> None:
    """The old queues exist while they have messages, those in flight included; then they are deleted."""
    old = (await resolve(broker, ROUTE)).current.queues["messages"][1]
    await put(broker, old)
    changed = await resolve(broker, WIDER)
    assert [generation.number for generation in changed.generations] == [1, 2]
    assert {name: len(got) for name, got in changed.current.queues.items()} == {"messages": 4}
    assert changed.place("any")[2] in changed.current.queues["messages"]
    held = await broker.queue(old).receive(max_messages=1, wait_seconds=0, visibility_seconds=60, attempt_id="")
    assert await drop_drained(broker, changed) == changed
    await broker.queue(old).delete([message.receipt_handle for message in held])
    drained = await drop_drained(broker, changed)
    assert [generation.number for generation in drained.generations] == [2]
    assert set(await broker.list_queues()) == urls(drained)
    assert await resolve(broker, WIDER) == drained


async def test_several_generations_drain_at_once(broker: EmbeddedBroker) -> None:
    """Oldest first; returning to an earlier map is a new generation, and an empty one in between is deleted."""
    await put(broker, (await resolve(broker, ROUTE)).place("a")[2])
    await resolve(broker, WIDER)
    back = await resolve(broker, ROUTE)
    assert [generation.number for generation in back.generations] == [1, 3]
    assert not set(back.generations[0].queues["messages"]) & set(back.generations[1].queues["messages"])


async def test_removed_rung_is_retired_until_it_is_empty(broker: EmbeddedBroker) -> None:
    """Its messages keep their delay; an empty one is deleted at once; one that returns is a rung again."""
    both = await resolve(broker, ROUTE)
    fast, slow = both.rungs
    await put(broker, slow.url)
    neither = replace(ROUTE, retry=RetryPolicy((), ()))
    retired = await resolve(broker, neither)
    assert (retired.rungs, retired.retired_rungs) == ((), (slow,))
    assert fast.url not in await broker.list_queues()
    again = await resolve(broker, ROUTE)
    assert (again.rungs, again.retired_rungs) == ((fast, slow), ())
    assert (await broker.queue(slow.url).counts()).delayed == 1
    await broker.set_attributes(slow.url, {"DelaySeconds": "0"})
    await empty(broker, slow.url)
    assert (await resolve(broker, neither)).retired_rungs == ()
    assert slow.url not in await broker.list_queues()


async def test_changed_delay_of_a_rung_applies_to_its_messages(broker: EmbeddedBroker) -> None:
    """SQS FIFO applies a queue's delay to messages already in it."""
    resolved = await resolve(broker, ROUTE)
    await put(broker, resolved.rungs[1].url)
    shorter = replace(ROUTE, retry=RetryPolicy((FAST, Rung("slow", 0)), ROUTE.retry.ladders))
    changed = await resolve(broker, shorter)
    assert [each.url for each in changed.rungs] == [each.url for each in resolved.rungs]
    assert changed.rungs[1].rung.delay_seconds == 0
    assert (await broker.queue(changed.rungs[1].url).counts()).visible == 1


async def test_changed_ordering_is_refused_with_a_fix(broker: EmbeddedBroker) -> None:
    """Nothing is changed by the attempt."""
    before = await resolve(broker, ROUTE)
    with pytest.raises(RouteConflictError, match=r"ns/r: spec.ordering is Strict.*Relaxed.*another data folder"):
        await resolve(broker, replace(ROUTE, ordering=Ordering.STRICT, queues=WIDER.queues))
    assert await resolve(broker, ROUTE) == before


async def test_routes_share_nothing(broker: EmbeddedBroker) -> None:
    """Two routes with the same name in two namespaces."""
    first, second = await asyncio.gather(resolve(broker, ROUTE), resolve(broker, replace(ROUTE, namespace="other")))
    assert not urls(first) & urls(second)
    await resolve(broker, WIDER)
    assert await resolve(broker, replace(ROUTE, namespace="other")) == second


@pytest.mark.parametrize("statement", ["generations", "routes", "rungs", "queues"])
async def test_a_failed_step_changes_nothing(broker: EmbeddedBroker, statement: str) -> None:
    """Whichever step fails, the next try starts from the state before and has the same result."""
    before = await resolve(broker, ROUTE)
    await put(broker, before.place("a")[2])
    event = "INSERT" if statement != "routes" else "UPDATE"
    await broker.run(
        lambda work: work.sql().execute(
            f"CREATE TRIGGER broken BEFORE {event} ON {statement} BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    )
    changed = replace(WIDER, retry=RetryPolicy((FAST, SLOW, Rung("later", 60)), ()))
    with pytest.raises(BackendUnavailableError):
        await resolve(broker, changed)
    await broker.run(lambda work: work.sql().execute("DROP TRIGGER broken"))
    assert set(await broker.list_queues()) == urls(before)
    assert await resolve(broker, ROUTE) == before
    assert [each.number for each in (await resolve(broker, changed)).generations] == [1, 2]


async def test_dead_letters_are_kept_for_the_retention_of_their_route(
    broker: EmbeddedBroker, clock: SteppedClock
) -> None:
    """Three days here; a route that is not in the folder has the default of 30."""
    await resolve(broker, ROUTE)
    store = EmbeddedBackend(broker).dead_letters
    letter = a_dead_letter(dead_lettered_at=clock.now_ms())
    for each in (letter, replace(letter, route="ns/other", message_id="m2", id="m2")):
        await store.put(each)
    left = []
    for days in (2.9, 0.2, 26.8, 0.2):
        clock.pass_time(days * 86_400)
        while await broker.run(housekeeping.Cursor().step):
            pass
        left.append([found.id async for found in store.find(DeadLetterFilter())])
    assert left == [["m1", "m2"], ["m2"], ["m2"], []]
