"""Settings of a worker process, and times derived from them."""

import pytest

from chaski_core.errors import InvalidInputError
from chaski_worker.__main__ import main
from chaski_worker.settings import (
    SQS_SETTINGS,
    WorkerSettings,
    from_environment,
    needed_visibility,
    poll_seconds_for,
    visibility_for,
)


@pytest.mark.parametrize(("timeout", "visibility"), [(1, 60), (30, 60), (45, 75), (300, 120)])
def test_visibility_covers_an_attempt_within_120_seconds(timeout: int, visibility: int) -> None:
    """At least 60 s, more for longer timeouts, never above the 120 s that deduplication allows; or the configured value."""
    assert visibility == visibility_for(timeout, WorkerSettings())
    assert visibility_for(timeout, WorkerSettings(visibility_seconds=6)) == 6


@pytest.mark.parametrize(("visibility", "seconds"), [(60, 20), (120, 20), (6, 2)])
def test_a_poll_is_short_compared_to_the_visibility_timeout(visibility: int, seconds: float) -> None:
    """The visibility timeout counts from the poll's start: after a longer poll a late message would be visible again."""
    assert poll_seconds_for(visibility, WorkerSettings()) == seconds


@pytest.mark.parametrize(
    ("timeout", "visibility", "seconds"), [(30, 60, 35), (1, 60, 6), (300, 120, 108), (1, 6, 1.5), (10, 6, 5.4)]
)
def test_an_attempt_needs_visibility_beyond_its_timeout(timeout: int, visibility: int, seconds: float) -> None:
    """By five seconds; never the whole visibility timeout, since extending takes time too."""
    assert needed_visibility(timeout, visibility, WorkerSettings()) == pytest.approx(seconds)


@pytest.mark.parametrize(("environment", "seconds"), [({}, 0), ({"CHASKI_VISIBILITY_SECONDS": "6"}, 6)])
def test_the_environment_sets_the_visibility_timeout(environment: dict[str, str], seconds: int) -> None:
    """In whole seconds; by default it depends on the route."""
    assert from_environment(environment).visibility_seconds == seconds
    assert from_environment(environment).delete_linger_seconds == SQS_SETTINGS.delete_linger_seconds


@pytest.mark.parametrize("value", ["", "1", "121", "6.5", "-6", "soon"])
def test_an_invalid_visibility_timeout_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its name and the valid range; the command ends with 2."""
    with pytest.raises(InvalidInputError, match="CHASKI_VISIBILITY_SECONDS"):
        from_environment({"CHASKI_VISIBILITY_SECONDS": value})
    monkeypatch.setenv("CHASKI_VISIBILITY_SECONDS", value)
    assert main(["consume", "--route", "any"]) == 2
    assert "from 2 to 120" in capsys.readouterr().err


@pytest.mark.parametrize(("environment", "characters"), [({}, 0), ({"CHASKI_LOG_CONTENT_CHARS": "500"}, 500)])
def test_contents_are_logged_only_where_configured(environment: dict[str, str], characters: int) -> None:
    """And never more than 8,192 characters."""
    assert from_environment(environment).log_content_characters == characters
    with pytest.raises(InvalidInputError, match="CHASKI_LOG_CONTENT_CHARS"):
        from_environment({"CHASKI_LOG_CONTENT_CHARS": "8193"})
