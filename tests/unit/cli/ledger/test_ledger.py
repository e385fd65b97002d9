"""The accounts of routes, out of the metrics of their processes."""

from chaski_cli.ledger.by_ids import IdAccount, accepted_ids, delivered_ids
from chaski_cli.ledger.command import Account, accounts

INGEST = """
# TYPE chaski_messages_accepted_total counter
chaski_messages_accepted_total{namespace="ns",route="a",queue="messages",subject_group="none"} 70.0
chaski_messages_accepted_total{namespace="ns",route="a",queue="urgent",subject_group="x"} 30.0
chaski_messages_accepted_total{namespace="ns",route="b",queue="messages",subject_group="none"} 5.0
"""
WORKER = """
# TYPE chaski_messages_settled_total counter
chaski_messages_settled_total{namespace="ns",route="a",origin="ingest",end="delivered"} 40.0
chaski_messages_settled_total{namespace="ns",route="a",origin="ingest",end="dead_lettered"} 3.0
chaski_messages_settled_total{namespace="ns",route="a",origin="replay",end="delivered"} 9.0
# TYPE chaski_queue_messages gauge
chaski_queue_messages{namespace="ns",route="a",queue="messages",state="visible"} 6.0
chaski_queue_messages{namespace="ns",route="a",queue="messages",state="in_flight"} 1.0
"""
OTHER = """
# TYPE chaski_messages_settled_total counter
chaski_messages_settled_total{namespace="ns",route="a",origin="ingest",end="delivered"} 50.0
# TYPE chaski_queue_messages gauge
chaski_queue_messages{namespace="ns",route="a",queue="messages",state="visible"} 5.0
"""


def test_both_sides_are_summed_over_all_processes() -> None:
    """Queues that two workers show count once; what a replay sent was not accepted."""
    assert accounts([INGEST, WORKER, OTHER], {}) == [Account("ns/a", 100, 90, 3, 7), Account("ns/b", 5, 0, 0, 0)]
    assert [each.unaccounted for each in accounts([INGEST, WORKER, OTHER], {})] == [0, 5]


def test_queues_that_were_counted_go_before_gauges() -> None:
    """A gauge is as old as its scrape."""
    first, _ = accounts([INGEST, WORKER], {"ns/a": 57})
    assert (first.pending, first.unaccounted) == (57, 0)


def test_what_is_missing_is_said() -> None:
    """In the JSON, too."""
    first, _ = accounts([INGEST, WORKER], {"ns/a": 50})
    assert first.as_json() == {
        "route": "ns/a",
        "accepted": 100,
        "delivered": 40,
        "deadLettered": 3,
        "pending": 50,
        "unaccounted": 7,
    }


def test_accepted_ids_are_those_that_were_answered_with_202() -> None:
    """Out of the answers to single messages and to batches, of logs that hold them, and of lists; no rejection."""
    lines = [
        b'{"id":"a","subject":"s","queue":"messages","partition":0}\n',
        b'{"line":1,"status":202,"id":"b","subject":"s"}\n',
        b'{"line":2,"status":503,"title":"not now","id":"refused"}\n',
        b'2026-11-25T01:00:00Z {"id":"c"}\n',
        b'{"id":"label","messageId":"identity","subject":"s"}\n',
        b"d\r\n",
        b"\n",
        b"{broken\n",
        b"[1]\n",
    ]
    assert accepted_ids(lines) == {"a", "b", "c", "d", "identity", "[1]"}


def test_delivered_ids_are_those_of_the_route_that_were_asked_for() -> None:
    """A failed attempt, another route's and what nobody asked for are none; a target's own list counts."""

    def line(message_id: str, outcome: str = "delivered", route: str = "r") -> bytes:
        fields = f'"chaski.message.id":"{message_id}","chaski.attempt.outcome":"{outcome}","labels.route":"{route}"'
        return b'stamp {"event.action":"delivery","labels.namespace":"ns",' + fields.encode() + b"}\n"

    lines = [line("a"), line("b", "failed"), line("c", route="other"), line("d"), b"e\n", b'{half a line "delivered"\n']
    assert delivered_ids(lines, "ns/r", {"a", "b", "c", "e"}, {}) == {"a", "e"}


def test_a_delivery_counts_for_the_message_it_is_a_replay_of_and_for_a_label_where_that_was_accepted() -> None:
    """What was accepted is named by its identity, or, in a list of a producer's own, by its label."""
    fields = '"chaski.message.id":"replay","chaski.id":"label","chaski.attempt.outcome":"delivered","labels.route":"r"'
    line = b'{"labels.namespace":"ns",' + fields.encode() + b"}\n"
    assert delivered_ids([line], "ns/r", {"root"}, {"replay": "root"}) == {"root"}
    assert delivered_ids([line], "ns/r", {"label"}, {"replay": "root"}) == {"label"}
    assert delivered_ids([line], "ns/r", {"other"}, {"replay": "root"}) == set()


def test_what_may_lie_on_a_queue_is_pending_and_the_rest_is_not_accounted_for() -> None:
    """Which of the ids it is can't be told apart by a count; at rest all of them are missing."""
    moving = IdAccount("ns/r", 10, 6, 1, on_queues=2, not_found=("x", "y", "z"))
    assert (moving.pending, moving.unaccounted) == (2, 1)
    at_rest = IdAccount("ns/r", 10, 9, 1, on_queues=0, not_found=())
    assert (at_rest.pending, at_rest.unaccounted) == (0, 0)
    assert moving.as_json() == {
        "route": "ns/r",
        "accepted": 10,
        "delivered": 6,
        "deadLettered": 1,
        "pending": 2,
        "unaccounted": 1,
        "onQueues": 2,
        "notFound": ["x", "y", "z"],
    }
