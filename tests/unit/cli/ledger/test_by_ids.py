"""Accounts of routes by message ids."""

from chaski_cli.ledger.by_ids import IdAccount, accepted_ids, ended_ids


def test_accepted_ids_are_those_with_status_202() -> None:
    """From responses to single messages and batches, logs of them, and lists; without rejections."""
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


def test_delivered_ids_are_the_accepted_ones_of_the_route() -> None:
    """Failed attempts, other routes and other ids do not count; a target's own list does. Discarded ones are apart."""

    def line(message_id: str, outcome: str = "delivered", route: str = "r") -> bytes:
        fields = f'"chaski.message.id":"{message_id}","chaski.attempt.outcome":"{outcome}","labels.route":"{route}"'
        return b'stamp {"event.action":"delivery","labels.namespace":"ns",' + fields.encode() + b"}\n"

    lines = [line("a"), line("b", "failed"), line("c", route="other"), line("d"), b"e\n", b'{half a line "delivered"\n']
    lines += [line("f", "discarded"), line("g", "discarded", "other"), line("h", "discarded")]
    assert ended_ids(lines, "ns/r", {"a", "b", "c", "e", "f", "g"}, {}) == ({"a", "e"}, {"f"})


def test_a_delivery_counts_for_the_original_of_a_replay_and_for_an_accepted_label() -> None:
    """Accepted messages are listed by identity or, in a producer's own list, by label."""
    fields = '"chaski.message.id":"replay","chaski.id":"label","chaski.attempt.outcome":"delivered","labels.route":"r"'
    line = b'{"labels.namespace":"ns",' + fields.encode() + b"}\n"
    assert ended_ids([line], "ns/r", {"root"}, {"replay": "root"})[0] == {"root"}
    assert ended_ids([line], "ns/r", {"label"}, {"replay": "root"})[0] == {"label"}
    assert ended_ids([line], "ns/r", {"other"}, {"replay": "root"})[0] == set()


def test_ids_that_may_be_on_a_queue_are_pending_and_the_rest_is_unaccounted_for() -> None:
    """A count does not say which ids they are; without messages on the queues all are missing."""
    moving = IdAccount("ns/r", 11, 6, 1, 1, on_queues=2, not_found=("x", "y", "z"))
    assert (moving.pending, moving.unaccounted) == (2, 1)
    at_rest = IdAccount("ns/r", 10, 9, 1, 0, on_queues=0, not_found=())
    assert (at_rest.pending, at_rest.unaccounted) == (0, 0)
    assert moving.as_json() == {
        "route": "ns/r",
        "accepted": 11,
        "delivered": 6,
        "deadLettered": 1,
        "discarded": 1,
        "pending": 2,
        "unaccounted": 1,
        "onQueues": 2,
        "notFound": ["x", "y", "z"],
    }
