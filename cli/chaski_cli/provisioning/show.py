"""What was done or would be done, for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from chaski_aws.provision.actions import Action
from chaski_aws.provision.errors import ProvisionError
from chaski_cli.output import printable, stderr, stdout, table

if TYPE_CHECKING:
    from chaski_cli.provisioning.command import Outcome

COLUMNS = ("resource", "action", "call", "what differs")


def actions_table(actions: Sequence[Action]) -> None:
    """A line for each action."""
    stdout().print(table(COLUMNS, [_row(action) for action in actions]))


def outcomes(found: "Sequence[Outcome]", file: Path | None) -> None:
    """Each route: what was done to it (or would be, without a file), and what is left to do."""
    for outcome in found:
        if outcome.actions:
            actions_table(outcome.actions)
        _tell(outcome, dry_run=file is None)
    if file is not None and any(outcome.resolved for outcome in found):
        stdout().print(Text.assemble("written: ", (printable(str(file)), "bold")), soft_wrap=True)


def _tell(outcome: "Outcome", *, dry_run: bool) -> None:
    key = printable(outcome.route.key)
    if outcome.error is not None:
        stderr().print(Text(f"{key}: {printable(str(outcome.error))}", style="red"), soft_wrap=True)
        if isinstance(outcome.error, ProvisionError):
            stderr().print(Text(f"next: {printable(outcome.error.fix)}"), soft_wrap=True)
        return
    changes = len(outcome.actions)
    said = f"{changes} to do" if dry_run and changes else f"{changes} done" if changes else "as it must be"
    stdout().print(Text.assemble(f"{key}: ", (said, "green")))
    if outcome.draining:
        names = ", ".join(map(printable, outcome.draining))
        told = f"{key}: take no new messages and are kept until they are empty; run this again later: {names}"
        stdout().print(Text(told, style="yellow"), soft_wrap=True)


def _row(action: Action) -> tuple[object, ...]:
    drift = ", ".join(f"{each.attribute}: {each.was or 'none'} -> {each.wanted or 'none'}" for each in action.drift)
    return action.resource, action.told, f"{action.service} {action.operation}", drift
