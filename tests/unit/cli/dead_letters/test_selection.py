"""Which dead letters a command means: checked filters, and the confirmation before they are changed."""

import io
from pathlib import Path

import pytest

from chaski_cli.dead_letters.selection import Search, check_known_target, check_selected, confirm
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.route.resolved_document import load_resolved
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.command_error import CommandError, ExitCode
from support.resolved import resolved_text

FOLDER = BackendLocation(Path("data"))
ROUTES = {each.route.key: each for each in load_resolved(resolved_text("r"))}


@pytest.mark.parametrize("name", ["404", "4xx", "3xx", "timeout", "connection", "tls", "refused", "599"])
def test_a_known_class_is_accepted(name: str) -> None:
    """The classes of a route's ladders, and statuses."""
    assert Search(error_class=name).filter(0).error_class == name


@pytest.mark.parametrize("name", ["9xx", "200", "Timeout", "4040", "time-out"])
def test_an_unknown_class_is_wrong_input(name: str) -> None:
    """With those that exist."""
    with pytest.raises(CommandError, match="no such error class") as refused:
        Search(error_class=name).filter(0)
    assert refused.value.exit_code is ExitCode.WRONG_INPUT
    assert "3xx, 4xx, 5xx, connection, refused, timeout, tls" in refused.value.next_step


def test_an_unknown_target_is_wrong_input_where_nothing_was_found() -> None:
    """With those that exist; that of a rule, or of messages that no rule covered, is fine."""
    for known in ("t", "none", None):
        check_known_target(DeadLetterFilter(target=known), ROUTES)
    with pytest.raises(CommandError) as refused:
        check_known_target(DeadLetterFilter(target="tt"), ROUTES)
    assert refused.value.exit_code is ExitCode.WRONG_INPUT
    assert refused.value.next_step == "known targets: t"
    with pytest.raises(CommandError, match="--target t"):
        check_known_target(DeadLetterFilter(target="t", route="n/other"), ROUTES)


@pytest.mark.parametrize(
    ("location", "search", "ids"),
    [
        (BackendLocation(Path("data"), route="ns/r"), Search(), ()),
        (FOLDER, Search(text="x"), ()),
        (FOLDER, Search(replayed=False), ()),
        (FOLDER, Search(), ("m1",)),
    ],
    ids=["route", "text", "replayed", "ids"],
)
def test_a_filter_names_what_is_changed(location: BackendLocation, search: Search, ids: tuple[str, ...]) -> None:
    """And contradicts --all."""
    check_selected(location, search, ids, every=False, dry_run=False)
    with pytest.raises(CommandError, match="--all excludes"):
        check_selected(location, search, ids, every=True, dry_run=False)


def test_all_dead_letters_are_changed_only_with_all() -> None:
    """A file of one route does not filter; counting needs none."""
    for location in (FOLDER, BackendLocation(Path("data"), Path("resolved.yaml"))):
        check_selected(location, Search(), (), every=True, dry_run=False)
        check_selected(location, Search(), (), every=False, dry_run=True)
        with pytest.raises(CommandError) as refused:
            check_selected(location, Search(), (), every=False, dry_run=False)
        assert refused.value.exit_code is ExitCode.WRONG_INPUT
        assert "--all" in refused.value.next_step


class Terminal(io.StringIO):
    """Standard input of a person."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "confirmed"), [("12\n", True), ("y\n", False), ("", False), ("11\n", False)])
def test_the_number_confirms(monkeypatch: pytest.MonkeyPatch, typed: str, confirmed: bool) -> None:
    """Who types it has read it."""
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    if confirmed:
        confirm("Send 12 messages again?", 12, yes=False)
        return
    with pytest.raises(CommandError, match="nothing was changed"):
        confirm("Send 12 messages again?", 12, yes=False)


def test_a_pipe_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only --yes helps."""
    monkeypatch.setattr("sys.stdin", io.StringIO("12\n"))
    with pytest.raises(CommandError) as refused:
        confirm("Delete 12 dead letters permanently?", 12, yes=False)
    assert (refused.value.exit_code, refused.value.next_step) == (ExitCode.WRONG_INPUT, "add --yes")
    confirm("Delete 12 dead letters permanently?", 12, yes=True)
