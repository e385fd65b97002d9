"""The log of denied requests."""

import logging

import pytest

from chaski_ingest.auth.token_review import Denied
from chaski_ingest.http.gate import DeniedRequestLog


def test_a_cause_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """For each route and cause; the memory of past lines is bounded."""
    now = 0.0
    log = DeniedRequestLog(lambda: now)
    for later in (0.0, 1.0, 59.0, 60.0):
        now = later
        log.record("a/b", Denied(403, "not you"))
        log.record("a/c", Denied(403, "not you"))
    assert [record.getMessage() for record in caplog.records] == [
        f"a/{route}: request denied with 403: not you" for route in "bcbc"
    ]
    assert caplog.records[0].__dict__["ecs"]["labels.route"] == "b"
    caplog.set_level(logging.CRITICAL)
    for number in range(1_100):
        log.record("a/b", Denied(403, str(number)))
    assert len(log._next_log_at) == 1_000
