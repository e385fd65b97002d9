"""Names of SQS queues, places of subjects, and changes of the map."""

import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.message.subject import partition
from chaski_core.retry.policy import RetryPolicy, Rung
from chaski_core.route.model import Delivery, Ordering, QueueSpec, Route, Suspend
from chaski_core.route.resolved import (
    Generation,
    ResolvedRoute,
    map_fingerprint,
    queue_name,
    queue_name_prefix,
    rung_queue_name,
    table_name,
)

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
ROUTE_NAME = LABEL | st.from_regex(r"[a-z][a-z0-9.-]{0,250}[a-z0-9]", fullmatch=True)
SQS_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")
MAP = (QueueSpec("assignments", 1, ("pc_assignments_*", "urgent")), QueueSpec("messages", 4))


def route(namespace: str = "ns", name: str = "r", queues: tuple[QueueSpec, ...] = MAP) -> Route:
    """A route with only an identity and a map."""
    policy = RetryPolicy((Rung("fast", 5),), ())
    return Route(
        namespace, name, Ordering.RELAXED, queues, (), Delivery(), policy, 30, (), None, Suspend(), document={}
    )


@given(LABEL, ROUTE_NAME, LABEL, st.integers(1, 10**6), st.integers(0, 63))
def test_sqs_accepts_every_queue_name(namespace: str, name: str, queue: str, generation: int, index: int) -> None:
    """At most 80 characters of SQS's alphabet, `.fifo` at the end, generation and partition readable."""
    made = queue_name(route(namespace, name), queue, generation, index)
    assert SQS_NAME.fullmatch(made)
    assert re.search(rf"-g{generation}-p{index}-[0-9a-f]{{8}}\.fifo\Z", made)
    assert SQS_NAME.fullmatch(rung_queue_name(route(namespace, name), queue))


QUEUES = st.tuples(LABEL, ROUTE_NAME, LABEL, st.integers(1, 20), st.integers(0, 63))


@given(QUEUES, QUEUES)
def test_no_two_partitions_share_a_queue(
    some: tuple[str, str, str, int, int], other: tuple[str, str, str, int, int]
) -> None:
    """Equal names only for equal parts."""
    names = [queue_name(route(each[0], each[1]), *each[2:]) for each in (some, other)]
    assert (names[0] == names[1]) == (some == other)


def test_hyphens_and_long_names_do_not_collide() -> None:
    """Equal texts of other splits, equal beginnings of long names, and a rung named like a partition."""
    long = "x" * 63
    names = [
        queue_name(route("a-b", "c"), "q", 1, 0),
        queue_name(route("a", "b-c"), "q", 1, 0),
        queue_name(route("a", "b"), "c-q", 1, 0),
        queue_name(route("a", "b.c"), "q", 1, 0),
        queue_name(route("a", "b"), "rung-x", 1, 0),
        rung_queue_name(route("a", "b"), "x-g1-p0"),
        rung_queue_name(route("a", "b-rung-x"), "g1-p0"),
        queue_name(route("a", "b"), "q-g1-p0", 1, 0),
        queue_name(route("a", "b"), "q", 1, 0),
        queue_name(route("a", "b"), "q", 1, 1),
        queue_name(route("a", "b"), "q", 2, 0),
        queue_name(route("a", "b"), "q", 1, 10),
        queue_name(route(long, long), long, 1, 0),
        queue_name(route(long, long), long[:-1] + "y", 1, 0),
        queue_name(route(long, long[:-1] + "y"), long, 1, 0),
        queue_name(route(long, long), long, 1, 1),
        queue_name(route(long, long), long, 11, 1),
        rung_queue_name(route(long, long), long),
        rung_queue_name(route(long, long), long[:-1] + "y"),
    ]
    assert len(set(names)) == len(names)


@given(LABEL, ROUTE_NAME, LABEL, st.integers(1, 10**9), st.integers(0, 63))
def test_every_queue_of_a_route_is_found_by_its_prefix(
    namespace: str, name: str, queue: str, generation: int, index: int
) -> None:
    """Also where a long name was cut."""
    prefix = queue_name_prefix(route(namespace, name))
    assert queue_name(route(namespace, name), queue, generation, index).startswith(prefix)
    assert rung_queue_name(route(namespace, name), queue).startswith(prefix)


@given(st.tuples(LABEL, ROUTE_NAME), st.tuples(LABEL, ROUTE_NAME))
def test_every_route_has_a_table_of_its_own(some: tuple[str, str], other: tuple[str, str]) -> None:
    """DynamoDB accepts the names; they are equal only for the same route."""
    names = [table_name(route(*each)) for each in (some, other)]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name) for name in names)
    assert (names[0] == names[1]) == (some == other)


def test_queue_names_never_change() -> None:
    """With another name a release would leave messages in the old queue."""
    assert (
        queue_name(route("helpdesk", "conversations"), "messages", 1, 3)
        == "chaski-helpdesk-conversations-messages-g1-p3-ea3219f5.fifo"
    )
    assert (
        rung_queue_name(route("helpdesk", "conversations"), "fast")
        == "chaski-helpdesk-conversations-rung-fast-dfa99b18.fifo"
    )
    assert table_name(route("helpdesk", "conversations")) == "chaski-helpdesk-conversations-7c01e807"


CHANGES = {
    "unchanged": MAP,
    "partitions": (MAP[0], replace(MAP[1], partitions=5)),
    "pattern": (replace(MAP[0], subjects=("pc_*", "urgent")), MAP[1]),
    "pattern removed": (replace(MAP[0], subjects=("pc_assignments_*",)), MAP[1]),
    "patterns joined": (replace(MAP[0], subjects=("pc_assignments_*urgent",)), MAP[1]),
    "queue renamed": (replace(MAP[0], name="tasks"), MAP[1]),
    "queue added": (QueueSpec("new", 1, ("new_*",)), *MAP),
    "queue removed": (MAP[1],),
    "order": (MAP[1], MAP[0]),
}


@pytest.mark.parametrize(("some", "other"), list(combinations(CHANGES, 2)), ids=" vs ".join)
def test_every_change_of_the_map_changes_its_fingerprint(some: str, other: str) -> None:
    """Partitions, queue list, order and patterns each make a new generation."""
    assert map_fingerprint(route(queues=CHANGES[some])) != map_fingerprint(route(queues=CHANGES[other]))


def test_other_changes_do_not_change_the_fingerprint() -> None:
    """Identity, ordering, delivery and targets do not change the queues; releases agree on the fingerprint."""
    changed = replace(
        route("other", "name"), ordering=Ordering.STRICT, delivery=Delivery(1, 1), suspend=Suspend(delivery=True)
    )
    assert map_fingerprint(changed) == map_fingerprint(route())
    assert map_fingerprint(route()) == "902dbef4195dddcfa51dd3e75a0e3b203740ec16f4e4be04ea8d20989c8de669"


def resolved() -> ResolvedRoute:
    """Two generations: the older one had two partitions."""
    old = Generation(1, {"messages": ("old-0", "old-1")})
    new = Generation(2, {"assignments": ("a-0",), "messages": ("m-0", "m-1", "m-2", "m-3")})
    return ResolvedRoute(route(), (old, new), ())


@given(st.text(min_size=1, max_size=20))
def test_a_subject_has_one_place_in_the_newest_generation(subject: str) -> None:
    """Its queue by pattern, its partition by murmur3, and the URL of just that partition."""
    index = partition(subject, 4)
    expected = ("assignments", 0, "a-0") if subject == "urgent" else ("messages", index, f"m-{index}")
    assert resolved().place(subject) == expected


@pytest.mark.parametrize("subject", ["pc_assignments_1", "urgent", "pc_assignments_"])
def test_a_subject_that_matches_a_pattern_goes_to_that_queue(subject: str) -> None:
    """One matching pattern is enough."""
    assert resolved().place(subject) == ("assignments", 0, "a-0")


@pytest.mark.parametrize(
    ("subject", "expected"),
    [("a_1", "first"), ("a_b_1", "first"), ("b_1", "second"), ("c", "default"), ("", "default")],
)
def test_a_subject_goes_to_the_first_queue_with_a_matching_pattern(subject: str, expected: str) -> None:
    """Other subjects go to the default queue, even where it is listed first."""
    queues = (QueueSpec("default", 1), QueueSpec("first", 1, ("a_*",)), QueueSpec("second", 1, ("b_*", "a_b_*")))
    assert route(queues=queues).queue_for(subject).name == expected


def test_the_key_of_a_route_is_namespace_and_name() -> None:
    """`namespace/name`, as in metadata and dead letters."""
    assert route("helpdesk", "conversations").key == "helpdesk/conversations"
