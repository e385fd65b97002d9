"""Accounts of routes by the metrics of their processes."""

from chaski_cli.ledger.accounts import Account, accounts

INGEST = """
# TYPE chaski_messages_accepted_total counter
chaski_messages_accepted_total{namespace="ns",route="a",queue="messages",subject_group="none"} 72.0
chaski_messages_accepted_total{namespace="ns",route="a",queue="urgent",subject_group="x"} 30.0
chaski_messages_accepted_total{namespace="ns",route="b",queue="messages",subject_group="none"} 5.0
"""
WORKER = """
# TYPE chaski_messages_settled_total counter
chaski_messages_settled_total{namespace="ns",route="a",origin="ingest",end="delivered"} 40.0
chaski_messages_settled_total{namespace="ns",route="a",origin="ingest",end="dead_lettered"} 3.0
chaski_messages_settled_total{namespace="ns",route="a",origin="ingest",end="discarded"} 2.0
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


def test_counts_are_summed_over_all_processes() -> None:
    """Queues that two workers report count once; messages of a replay do not count."""
    assert accounts([INGEST, WORKER, OTHER], {}) == [Account("ns/a", 102, 90, 3, 2, 7), Account("ns/b", 5, 0, 0, 0, 0)]
    assert [each.unaccounted for each in accounts([INGEST, WORKER, OTHER], {})] == [0, 5]


def test_counted_queues_take_precedence_over_gauges() -> None:
    """A gauge is as old as its scrape."""
    first, _ = accounts([INGEST, WORKER], {"ns/a": 57})
    assert (first.pending, first.unaccounted) == (57, 0)


def test_unaccounted_messages_are_reported() -> None:
    """In JSON."""
    first, _ = accounts([INGEST, WORKER], {"ns/a": 50})
    assert first.as_json() == {
        "route": "ns/a",
        "accepted": 102,
        "delivered": 40,
        "deadLettered": 3,
        "discarded": 2,
        "pending": 50,
        "unaccounted": 7,
    }
