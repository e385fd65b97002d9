"""Runs `chaski deprovision`: says what would be lost, asks, deletes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaski_aws.provision.actions import Action
from chaski_aws.provision.apply import Patience, apply
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import survey
from chaski_aws.provision.plan import plan_drop
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.output import emit_json, printable, stderr, stdout
from chaski_cli.provisioning import show
from chaski_cli.provisioning.command import ProvisionOptions, connect
from chaski_cli.routes import load
from chaski_core.route.model import Route

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Consent:
    """What was agreed to on the command line."""

    yes: bool  # nobody is asked
    force: bool  # messages may be lost


@dataclass(frozen=True, slots=True)
class _Drop:
    route: Route
    actions: tuple[Action, ...]
    messages: int  # approximately, on all queues


def run_deprovision(
    paths: Sequence[Path], asked: ProvisionOptions, consent: Consent, *, keep_dead_letters: bool
) -> Exit:
    """Deletes what carries our tags for these routes."""
    routes = load(paths)
    aws = connect()
    try:
        drops = [_planned(aws, route, asked, with_table=not keep_dead_letters) for route in routes]
    except ProvisionError as error:
        raise CommandError(str(error), next_step=error.fix) from error
    if not asked.as_json:
        _show(drops)
    if not asked.dry_run:
        for drop in drops:
            _agree(drop, consent)
        _drop(aws, drops)
    if asked.as_json:
        emit_json(
            {
                "dryRun": asked.dry_run,
                "routes": [
                    {
                        "route": drop.route.key,
                        "messages": drop.messages,
                        "actions": [action.as_json() for action in drop.actions],
                    }
                    for drop in drops
                ],
            },
            indented=True,
        )
    return Exit.OK


def _planned(aws: Aws, route: Route, asked: ProvisionOptions, *, with_table: bool) -> _Drop:
    settings = asked.settings()
    observed = survey(aws, route, settings)
    messages = sum(queue.counts.total for queue in observed.own_queues)
    return _Drop(route, plan_drop(route, settings, observed, with_table=with_table), messages)


def _show(drops: Sequence[_Drop]) -> None:
    for drop in drops:
        key = printable(drop.route.key)
        if not drop.actions:
            stdout().print(f"{key}: nothing of it is there", markup=False)
            continue
        show.actions_table(drop.actions)
        stdout().print(f"{key}: {drop.messages} messages on its queues", markup=False)


def _agree(drop: _Drop, consent: Consent) -> None:
    if not drop.actions:
        return
    key = printable(drop.route.key)
    if drop.messages and not consent.force:
        raise CommandError(
            f"{key}: its queues hold {drop.messages} messages, which would be lost; nothing was deleted",
            next_step="let the workers deliver them, or give --force",
        )
    if consent.yes:
        return
    if not sys.stdin.isatty():
        raise wrong_input("nobody can be asked here; nothing was deleted", "give --yes")
    stderr().print(f"This can't be undone. Type {key} to delete all of the above: ", end="", markup=False)
    if sys.stdin.readline().strip() != drop.route.key:
        raise CommandError("that is another name; nothing was deleted")


def _drop(aws: Aws, drops: Sequence[_Drop]) -> None:
    for drop in drops:
        try:
            apply(aws, drop.actions, Patience(_PATIENCE_SECONDS))
        except ProvisionError as error:
            raise CommandError(f"{drop.route.key}: {error}", next_step=f"{error.fix}; then run it again") from error
        if drop.actions:
            stderr().print(f"{printable(drop.route.key)}: deleted", markup=False)
