"""The outcome of `chaski provision` for each route, as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from chaski_aws.provision.actions import Action
from chaski_aws.provision.errors import ProvisionError
from chaski_cli.output import printable, stderr, stdout, table
from chaski_core.errors import ChaskiError
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_document

COLUMNS = ("resource", "action", "call", "difference")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one route."""

    route: Route
    actions: tuple[Action, ...] = ()  # done, or planned in a dry run
    draining: tuple[str, ...] = ()  # older queues that are kept until they are empty
    resolved: ResolvedRoute | None = None
    error: ChaskiError | None = None

    def as_json(self) -> dict[str, Any]:
        """`{route, actions, draining, resolved, error, fix}`."""
        return {
            "route": self.route.key,
            "actions": [action.as_json() for action in self.actions],
            "draining": list(self.draining),
            "resolved": None if self.resolved is None else resolved_document(self.resolved)["resolved"],
            "error": None if self.error is None else str(self.error),
            "fix": self.error.fix if isinstance(self.error, ProvisionError) else None,
        }


def print_actions(actions: Sequence[Action]) -> None:
    """Prints one row per action."""
    stdout().print(table(COLUMNS, [_row(action) for action in actions]))


def print_outcomes(outcomes: Sequence[Outcome], file: Path | None) -> None:
    """Prints each route: its actions (planned ones without a file), and what is left to do."""
    for outcome in outcomes:
        if outcome.actions:
            print_actions(outcome.actions)
        _print_summary(outcome, dry_run=file is None)
    if file is not None and any(outcome.resolved for outcome in outcomes):
        stdout().print(Text.assemble("written: ", (printable(str(file)), "bold")), soft_wrap=True)


def _print_summary(outcome: Outcome, *, dry_run: bool) -> None:
    key = printable(outcome.route.key)
    if outcome.error is not None:
        stderr().print(Text(f"{key}: {printable(str(outcome.error))}", style="red"), soft_wrap=True)
        if isinstance(outcome.error, ProvisionError):
            stderr().print(Text(f"next: {printable(outcome.error.fix)}"), soft_wrap=True)
        return
    count = len(outcome.actions)
    summary = f"{count} to do" if dry_run and count else f"{count} done" if count else "up to date"
    stdout().print(Text.assemble(f"{key}: ", (summary, "green")))
    if outcome.draining:
        names = ", ".join(map(printable, outcome.draining))
        note = f"{key}: older queues take no new messages and are deleted once they are empty; run this again later: {names}"
        stdout().print(Text(note, style="yellow"), soft_wrap=True)


def _row(action: Action) -> tuple[object, ...]:
    drift = ", ".join(f"{each.attribute}: {each.was or 'none'} -> {each.wanted or 'none'}" for each in action.drift)
    return action.resource, action.description, f"{action.service} {action.operation}", drift
