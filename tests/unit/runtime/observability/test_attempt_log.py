"""Lines from pieces are the lines that are rendered field by field."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.retry.outcome import Outcome
from chaski_runtime.observability.attempt_log import DeliveredLines
from chaski_runtime.observability.log_fields import Attempt, attempt_fields
from chaski_runtime.observability.logs import json_renderer
from unit.runtime.observability.test_log_fields import DELIVERED, FAILED

_RENDER = json_renderer("chaski-worker")
_LINES = DeliveredLines(_RENDER)
_TRACES = st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True)
_URLS = ["https://a.example/x?token=secret", "http://b.example:8080/y", "HTTPS://C.example", "http://[::1]:5/z#f"]


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(_URLS),
    st.floats(0, 120),
    _TRACES,
    st.integers(0, 4_000_000_000_000),
)
def test_both_ways_write_the_same(  # noqa: PLR0917 - what differs between lines
    subject: str, message_id: str, label: str, url: str, seconds: float, trace: str | None, now_ms: int
) -> None:
    """Whatever is in the fields that differ."""
    attempt = replace(
        DELIVERED,
        subject=subject,
        message_id=message_id,
        id=label,
        url=url,
        outcome=replace(DELIVERED.outcome, duration_seconds=seconds),
        traceparent=trace,
    )
    assert _LINES.line(attempt, now_ms) == _RENDER(attempt_fields(attempt, now_ms))


@pytest.mark.parametrize(
    "attempt",
    [
        replace(DELIVERED, queue="others"),
        replace(DELIVERED, stage="retry", number=12),
        replace(DELIVERED, method="DELETE"),
        replace(DELIVERED, namespace="n", route="r"),
        replace(DELIVERED, outcome=Outcome(None, 204, target="other", duration_seconds=0.5)),
    ],
)
def test_kinds_of_lines_are_told_apart(attempt: Attempt) -> None:
    """After a line of another kind."""
    assert _LINES.line(DELIVERED, 1) == _RENDER(attempt_fields(DELIVERED, 1))
    assert _LINES.line(attempt, 1) == _RENDER(attempt_fields(attempt, 1))


def test_what_is_remembered_is_bounded() -> None:
    """And forgetting changes nothing."""
    lines = DeliveredLines(_RENDER)
    for number in range(1_000):
        attempt = replace(DELIVERED, number=number)
        assert lines.line(attempt, 1) == _RENDER(attempt_fields(attempt, 1))
        assert len(lines._pieces) <= 256


def test_other_attempts_are_left_to_be_rendered() -> None:
    """Failures, shown contents, URLs that can't be read; a text that UTF-8 can't carry is an error."""
    assert _LINES.line(FAILED, 1) is None
    assert _LINES.line(replace(DELIVERED, content="a word"), 1) is None
    assert _LINES.line(replace(DELIVERED, url="http://[nowhere"), 1) is None
    with pytest.raises(orjson.JSONEncodeError):
        _LINES.line(replace(DELIVERED, subject="\ud800"), 1)
