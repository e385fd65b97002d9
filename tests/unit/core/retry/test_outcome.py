"""The class, name and label of an HTTP status."""

import pytest

from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_key, class_of_status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, None),
        (204, None),
        (299, None),
        (300, ErrorClass.REDIRECT),
        (399, ErrorClass.REDIRECT),
        (400, ErrorClass.CLIENT_ERROR),
        (499, ErrorClass.CLIENT_ERROR),
        (500, ErrorClass.SERVER_ERROR),
        (599, ErrorClass.SERVER_ERROR),
        (100, ErrorClass.CONNECTION),
        (199, ErrorClass.CONNECTION),
        (600, ErrorClass.CONNECTION),
        (999, ErrorClass.CONNECTION),
        (0, ErrorClass.CONNECTION),
        (-404, ErrorClass.CONNECTION),
    ],
)
def test_a_status_has_the_class_of_its_hundred(status: int, expected: ErrorClass | None) -> None:
    """2xx is delivered; a status that can't be final is broken framing."""
    assert class_of_status(status) == expected


@pytest.mark.parametrize(
    ("outcome", "key", "label", "delivered"),
    [
        pytest.param(Outcome(None, 200), "", "delivered", True, id="delivered"),
        pytest.param(Outcome(ErrorClass.CLIENT_ERROR, 404), "404", "failed", False, id="status"),
        pytest.param(Outcome(ErrorClass.REDIRECT, 301), "301", "failed", False, id="redirect"),
        pytest.param(Outcome(ErrorClass.TIMEOUT), "timeout", "failed", False, id="no status"),
        pytest.param(Outcome(ErrorClass.CONNECTION, 101), "connection", "failed", False, id="status that is not final"),
        pytest.param(Outcome(ErrorClass.SERVER_ERROR), "5xx", "failed", False, id="class without its status"),
        pytest.param(Outcome(ErrorClass.REFUSED), "refused", "refused", False, id="refused"),
    ],
)
def test_an_outcome_has_a_key_and_a_label(outcome: Outcome, key: str, label: str, delivered: bool) -> None:
    """The key is the status where it is more specific than the class; the label is one of three words."""
    assert (outcome.key, outcome.label, outcome.delivered) == (key, label, delivered)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("404", "4xx"), ("503", "5xx"), ("301", "3xx"), ("4xx", "4xx"), ("timeout", "timeout"), ("tls", "tls"), ("", "")],
)
def test_a_name_belongs_to_a_class(key: str, expected: str) -> None:
    """A status belongs to its hundred; a class is itself, also the three letters of tls."""
    assert class_of_key(key) == expected
