"""Names on AWS: within SQS's and DynamoDB's limits, unique, and with a prefix that no other namespace has."""

import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_aws.names import namespace_prefix, prefix_of, queue_name, queue_name_prefix, rung_queue_name, table_name
from chaski_core.route.model import Route
from support.operator.provisioning import route_of

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
ROUTE_NAME = LABEL | st.from_regex(r"[a-z][a-z0-9.-]{0,250}[a-z0-9]", fullmatch=True)
ROUTE = route_of()
PARTS = st.tuples(LABEL, ROUTE_NAME, LABEL, st.integers(1, 20), st.integers(0, 63))


def route(namespace: str, name: str) -> Route:
    """A route with another identity."""
    return replace(ROUTE, namespace=namespace, name=name)


@given(LABEL, ROUTE_NAME, LABEL, st.integers(1, 10**9), st.integers(0, 63))
def test_names_are_accepted_and_found_by_their_prefixes(
    namespace: str, name: str, queue: str, generation: int, index: int
) -> None:
    """API_CreateQueue: 80 characters with `.fifo`; API_CreateTable: 255. 64 bits of a hash end each."""
    route_ = route(namespace, name)
    queues = [queue_name(route_, "uid", queue, generation, index), rung_queue_name(route_, "uid", queue)]
    for each in queues:
        assert re.fullmatch(r"chaski-[0-9a-f]{16}-[A-Za-z0-9_-]{1,40}-[0-9a-f]{16}\.fifo", each)
        assert len(each) <= 80
        assert each.startswith(queue_name_prefix(route_, "uid"))
        assert prefix_of(each, route_) == queue_name_prefix(route_, "uid")
    assert f"-g{generation}-p{index}-" in queues[0]
    table = table_name(route_, "uid")
    assert re.fullmatch(r"chaski-[0-9a-f]{16}-[A-Za-z0-9_-]{1,214}-[0-9a-f]{16}", table)
    assert all(each.startswith(namespace_prefix("uid", namespace)) for each in (*queues, table))


@given(PARTS, PARTS)
def test_names_are_equal_only_for_equal_parts(
    some: tuple[str, str, str, int, int], other: tuple[str, str, str, int, int]
) -> None:
    """Partitions of any two routes; tables of any two routes."""
    names = [queue_name(route(*each[:2]), "uid", *each[2:]) for each in (some, other)]
    assert (names[0] == names[1]) == (some == other)
    tables = [table_name(route(*each[:2]), "uid") for each in (some, other)]
    assert (tables[0] == tables[1]) == (some[:2] == other[:2])


def test_hyphens_and_long_names_do_not_collide() -> None:
    """Equal texts of other splits, equal beginnings of long names, and a rung named like a partition."""
    long = "x" * 63
    names = [
        queue_name(route("ns", "a-b"), "uid", "c", 1, 0),
        queue_name(route("ns", "a"), "uid", "b-c", 1, 0),
        queue_name(route("ns", "a.b"), "uid", "c", 1, 0),
        queue_name(route("ns", "a"), "uid", "rung-x", 1, 0),
        rung_queue_name(route("ns", "a"), "uid", "x-g1-p0"),
        rung_queue_name(route("ns", "a"), "uid", "x"),
        queue_name(route("ns", long), "uid", long, 1, 0),
        queue_name(route("ns", long), "uid", long[:-1] + "y", 1, 0),
        queue_name(route("ns", long[:-1] + "y"), "uid", long, 1, 0),
        queue_name(route("ns", long), "uid", long, 11, 0),
    ]
    assert len(set(names)) == len(names)


@pytest.mark.promise(14)
def test_no_prefix_covers_another_namespace() -> None:
    """Neither `help` that of `help-desk`, nor one installation that of another."""
    pairs = [("uid", "help"), ("uid", "help-desk"), ("uid-2", "help"), ("ui", "dhelp"), ("uid", "d"), ("uid", "team")]
    prefixes = [namespace_prefix(*pair) for pair in pairs]
    for some, other in combinations(prefixes, 2):
        assert not some.startswith(other)
        assert not other.startswith(some)
    assert queue_name(route("help", "desk-orders"), "uid", "m", 1, 0)[:24] != prefixes[1]


def test_names_never_change() -> None:
    """With another name a release would leave messages in the old queue, and policies would allow other queues."""
    assert namespace_prefix("chaski", "helpdesk") == "chaski-42231e125d2aaac2-"
    assert (
        queue_name(ROUTE, "chaski", "messages", 1, 3)
        == "chaski-42231e125d2aaac2-conversations-messages-g1-p3-86b9ff21f0bf939b.fifo"
    )
    assert (
        rung_queue_name(ROUTE, "chaski", "fast")
        == "chaski-42231e125d2aaac2-conversations-rung-fast-38780589113e1c4e.fifo"
    )
    assert table_name(ROUTE, "chaski") == "chaski-42231e125d2aaac2-conversations-5c0dc939187d4ae4"


def test_a_name_of_an_earlier_release_has_no_prefix_of_an_installation() -> None:
    """Route and namespace in plain."""
    assert prefix_of("chaski-helpdesk-conversations-messages-g1-p3-ea3219f5.fifo", ROUTE) is None
