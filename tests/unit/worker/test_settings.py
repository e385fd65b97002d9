"""Settings of a worker process, and times derived from them."""

from typing import get_type_hints

import pytest

from chaski_cli.commands.dev import dev
from chaski_worker.__main__ import Arguments, main
from chaski_worker.settings import (
    SQS_SETTINGS,
    WorkerOverrides,
    WorkerSettings,
    needed_visibility,
    poll_seconds_for,
    visibility_for,
    with_overrides,
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


def test_overrides_replace_only_what_they_name() -> None:
    """None keeps a value; the rest stays as on SQS."""
    assert with_overrides(SQS_SETTINGS, WorkerOverrides()) == SQS_SETTINGS
    made = with_overrides(SQS_SETTINGS, WorkerOverrides(visibility_seconds=6, log_content_characters=500))
    assert (made.visibility_seconds, made.log_content_characters) == (6, 500)
    assert made.delete_linger_seconds == SQS_SETTINGS.delete_linger_seconds


@pytest.mark.parametrize("value", ["1", "121", "6.5", "-6", "soon"])
@pytest.mark.parametrize("job", ["consume", "retry", "sweep"])
def test_an_invalid_visibility_timeout_is_refused(
    job: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the name of the variable; the command ends with 2."""
    monkeypatch.setenv("CHASKI_VISIBILITY_SECONDS", value)
    assert main([job, "--route", "any"]) == 2
    assert "CHASKI_VISIBILITY_SECONDS" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["2", "120", ""])
def test_a_valid_visibility_timeout_is_taken(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty variable counts as not set, as for every flag. The command goes on to the file that is missing."""
    monkeypatch.setenv("CHASKI_VISIBILITY_SECONDS", value)
    assert main(["consume", "--route", "/absent"]) == 2
    assert "/absent" in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "code"), [("8192", "/absent"), ("8193", "log-content-chars")])
def test_at_most_8192_characters_of_a_content_are_logged(
    flag: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Contents are private to their target."""
    assert main(["consume", "--route", "/absent", "--log-content-chars", flag]) == 2
    assert code in capsys.readouterr().err


def test_chaski_dev_has_the_same_bounds() -> None:
    """`chaski dev` states them again, because its help must not import the worker."""
    of_dev, of_worker = (get_type_hints(each, include_extras=True) for each in (dev, Arguments))
    for name in ("visibility_seconds", "log_content_chars"):
        (one,), (other,) = of_dev[name].__metadata__, of_worker[name].__metadata__
        assert (one.min, one.max, one.envvar) == (other.min, other.max, other.envvar)
