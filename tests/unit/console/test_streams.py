"""The event stream of an open page: what one reader gets, and how much of it."""

import gzip
import json
import random
import zlib
from typing import Any

import pytest

from chaski_console.results import ActionResults
from chaski_console.streams import ChangeStream, accepts_gzip


def parsed(data: bytes) -> Any:
    """The JSON of an event."""
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    return json.loads(data.removeprefix(b"data: "))


def test_only_changes_are_sent_after_the_first_event() -> None:
    """A value that comes back is a change again; without any a comment keeps the connection."""
    stream = ChangeStream(compressed=False)
    assert parsed(stream.next("l", {"a": "1", "b": "2"})) == {"layout": "l", "values": {"a": "1", "b": "2"}}
    assert stream.next("l", {"a": "1", "b": "2"}).startswith(b":")
    assert parsed(stream.next("l", {"a": "1", "b": "3"})) == {"layout": "l", "values": {"b": "3"}}
    assert parsed(stream.next("l", {"a": "1", "b": "2"})) == {"layout": "l", "values": {"b": "2"}}
    assert parsed(stream.next("other", {"a": "1", "b": "2"})) == {"layout": "other", "values": {}}
    assert parsed(ChangeStream(compressed=False).next("l", {"a": "1"})) == {"layout": "l", "values": {"a": "1"}}


def test_each_compressed_event_can_be_read_at_once() -> None:
    """Before the stream ends, as a browser reads it."""
    plain, packed, reader = ChangeStream(compressed=False), ChangeStream(compressed=True), zlib.decompressobj(wbits=31)
    for number in range(5):
        values = {"n/r accepted": str(number), "n/r name": "r"}
        assert reader.decompress(packed.next("l", values)) == plain.next("l", values)


def test_the_figures_of_two_hundred_routes_cost_little_on_the_wire() -> None:
    """At most 5 kB a second for each reader, without charts: an update every two seconds, in which a tenth of the figures changes."""
    chance = random.Random(1)
    values = {
        f"shop/route-{n} {name}": "0" for n in range(200) for name in ("accepted", "failed", "backlog", "age", "pods")
    }
    stream = ChangeStream(compressed=True)
    stream.next("l", values)
    sent, updates = 0, 150
    for _ in range(updates):
        for key in chance.sample(sorted(values), len(values) // 10):
            values[key] = f"{chance.uniform(0, 1000):.1f}"
        sent += len(stream.next("l", values))
    assert sent / (2 * updates) < 5_000
    whole = len(gzip.compress(json.dumps(values).encode(), 1))
    assert sent / updates < 0.5 * whole


@pytest.mark.parametrize(
    ("header", "accepted"),
    [("gzip, deflate, br", True), ("*", True), ("GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
def test_only_a_reader_that_accepts_gzip_gets_it(header: str, accepted: bool) -> None:
    """RFC 9110 §12.5.3."""
    assert accepts_gzip(header) == accepted


def test_results_that_are_never_shown_do_not_add_up() -> None:
    """The oldest is dropped; a key is used once."""
    numbers = iter(range(10_000))
    results = ActionResults(lambda: f"k{next(numbers)}")
    addresses = [results.address("/dead-letters?window=1h&done=old", f"result {n}") for n in range(600)]
    assert addresses[-1] == "/dead-letters?window=1h&done=k599"
    assert (results.take("k99"), results.take("k100")) == ("", "result 100")
    assert results.take("k100") == ""
