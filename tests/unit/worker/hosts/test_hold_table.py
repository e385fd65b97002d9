"""The table of held hosts, and for how long their heads are hidden."""

from hypothesis import given
from hypothesis import strategies as st

from chaski_worker.hosts.hold_table import ALL_HOSTS, MAX_HOLDS, Hold, HoldReason, HoldTable, hidden_seconds

A, B = ("t", "a:80"), ("t", "b:80")


def test_a_hold_ends_by_itself() -> None:
    """It is found until its end, and is then removed once."""
    table = HoldTable()
    assert table.hold_until(*A, "http://a", 10.0, 0.0) is not None
    assert table.find(*A, 9.9) is not None
    assert table.find(*B, 9.9) is None
    assert table.find(*A, 10.0) is None
    assert table.next_end() == 10.0
    assert table.expire(9.9) == []
    (ended,) = table.expire(10.0)
    assert (ended.host, ended.reason, ended.origin) == ("a:80", HoldReason.RETRY_AFTER, "http://a")
    assert (table.expire(10.0), table.held, table.next_end()) == ([], {}, None)


def test_a_host_that_asks_again_is_held_for_longer_and_never_shorter() -> None:
    """It is one hold, which was begun once."""
    table = HoldTable()
    assert table.hold_until(*A, "", 10.0, 0.0) is not None
    assert table.hold_until(*A, "", 30.0, 1.0) is None
    assert table.hold_until(*A, "", 20.0, 2.0) is None
    assert table.next_end() == 30.0
    assert table.hold_until(*A, "", 40.0, 35.0) is not None, "the first had ended"


def test_a_suspended_rule_holds_all_its_hosts() -> None:
    """And no other rule's. Its hold takes precedence over one that ends by itself, which goes on afterwards."""
    table = HoldTable()
    table.hold_until(*A, "", 10.0, 0.0)
    began, ended = table.suspend({"t", "u"}, 1.0)
    assert ({hold.target for hold in began}, {hold.host for hold in began}, ended) == ({"t", "u"}, {ALL_HOSTS}, [])
    for host in (A, B):
        found = table.find(*host, 2.0)
        assert found is not None
        assert found.reason is HoldReason.SUSPENDED
    assert table.find("v", "a:80", 2.0) is None
    began, ended = table.suspend({"u"}, 3.0)
    assert (began, [hold.target for hold in ended]) == ([], ["t"])
    found = table.find(*A, 4.0)
    assert found is not None
    assert found.reason is HoldReason.RETRY_AFTER
    assert table.find(*B, 4.0) is None


def test_the_number_of_holds_is_bounded() -> None:
    """The one that ends first makes way; suspended rules stay."""
    table = HoldTable()
    table.suspend({"s"}, 0.0)
    for number in range(MAX_HOLDS + 10):
        assert table.hold_until("t", f"h{number}:80", "", 100.0 + number, 0.0) is not None
    assert len(table.held) == MAX_HOLDS
    assert table.find("s", "x:80", 0.0) is not None
    assert [number for number in range(20) if table.find("t", f"h{number}:80", 0.0) is None] == list(range(11))


@given(st.floats(0, 1e6), st.floats(0.001, 1e6), st.integers(1, 300))
def test_a_head_is_hidden_until_the_end_of_its_hold_and_no_longer_than_a_step(
    now: float, left: float, longest: int
) -> None:
    """So it is neither attempted early nor received without end."""
    hold = Hold("t", "a:80", HoldReason.RETRY_AFTER, 0.0, now + left)
    seconds = hidden_seconds(hold, now, longest)
    assert 1 <= seconds <= longest
    assert seconds == longest or now + seconds >= now + left


def test_a_hold_without_an_end_is_asked_for_less_and_less_often() -> None:
    """From five seconds to the longest step: after a short hold subjects go on soon."""
    hold = Hold("t", ALL_HOSTS, HoldReason.SUSPENDED, 0.0, None)
    assert [hidden_seconds(hold, now, 300) for now in (0, 10, 60, 600, 86_400)] == [5, 5, 30, 300, 300]
