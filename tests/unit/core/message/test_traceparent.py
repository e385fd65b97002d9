"""The one rule for `traceparent`, by W3C Trace Context section 3.2."""

import pytest

from chaski_core.message.envelope import metadata_of
from chaski_core.message.traceparent import valid_traceparent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
USUAL = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (USUAL, True),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"00-{TRACE}-{PARENT}-01-", False),  # version 00 has 55 characters
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"01-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-holds", True),
        (f"cc-{TRACE}-{PARENT}-01.what", False),
        (f"01-{TRACE}-{PARENT}-01-what the future holds", False),
        (f"01-{TRACE}-{PARENT}-01-" + "a" * 160, True),
        (f"01-{TRACE}-{PARENT}-01-" + "a" * 161, False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"01-{'0' * 32}-{PARENT}-01-x", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"{USUAL}\n", False),
        (f" {USUAL}", False),
        (f"00-{TRACE}-{PARENT}", False),
        ("", False),
        (None, False),
        (7, False),
    ],
)
def test_a_traceparent_is_valid_as_in_the_recommendation(text: object, valid: bool) -> None:
    """An invalid one is ignored, at ingest and on a queue."""
    assert valid_traceparent(text) == (text if valid else None)
    read = metadata_of({"metadata": {"traceparent": text}})
    assert read is not None
    assert read.traceparent == (text if valid else None)
