"""Runs `chaski deprovision`: shows what would be lost, asks for confirmation, deletes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaski_aws.provision.actions import Action
from chaski_aws.provision.apply import RetryOptions, apply
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import observe
from chaski_aws.provision.plan import plan_drop
from chaski_cli.output import emit_result, printable, stderr, stdout
from chaski_cli.provisioning.outcome import print_actions
from chaski_cli.provisioning.provision import ProvisionOptions, connect
from chaski_cli.route_files import load
from chaski_core.route.model import Route
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Consent:
    """Consent given on the command line."""

    yes: bool  # no confirmation
    force: bool  # messages may be lost


@dataclass(frozen=True, slots=True)
class _Deletion:
    route: Route
    actions: tuple[Action, ...]
    messages: int  # approximately, on all queues


def run_deprovision(
    paths: Sequence[Path], options: ProvisionOptions, consent: Consent, *, keep_dead_letters: bool
) -> ExitCode:
    """Deletes the resources of these routes that have this installation's tags."""
    routes = load(paths)
    aws = connect()
    try:
        deletions = [_plan(aws, route, options, with_table=not keep_dead_letters) for route in routes]
    except ProvisionError as error:
        raise CommandError(str(error), next_step=error.fix) from error
    if not options.as_json:
        _show(deletions)
    if not options.dry_run:
        for deletion in deletions:
            _confirm(deletion, consent)
        _delete(aws, deletions)
    if options.as_json:
        emit_result(
            {
                "dryRun": options.dry_run,
                "routes": [
                    {
                        "route": deletion.route.key,
                        "messages": deletion.messages,
                        "actions": [action.as_json() for action in deletion.actions],
                    }
                    for deletion in deletions
                ],
            },
            indented=True,
        )
    return ExitCode.OK


def _plan(aws: Aws, route: Route, options: ProvisionOptions, *, with_table: bool) -> _Deletion:
    settings = options.settings()
    observed = observe(aws, route, settings)
    messages = sum(queue.counts.total for queue in observed.own_queues)
    return _Deletion(route, plan_drop(route, settings, observed, with_table=with_table), messages)


def _show(deletions: Sequence[_Deletion]) -> None:
    for deletion in deletions:
        key = printable(deletion.route.key)
        if not deletion.actions:
            stdout().print(f"{key}: nothing to delete", markup=False)
            continue
        print_actions(deletion.actions)
        stdout().print(f"{key}: {deletion.messages} messages on its queues", markup=False)


def _confirm(deletion: _Deletion, consent: Consent) -> None:
    if not deletion.actions:
        return
    key = printable(deletion.route.key)
    if deletion.messages and not consent.force:
        raise CommandError(
            f"{key}: its queues hold {deletion.messages} messages, which would be lost; nothing was deleted",
            next_step="let the workers deliver them, or add --force",
        )
    if consent.yes:
        return
    if not sys.stdin.isatty():
        raise wrong_input(
            "can't ask for confirmation: standard input is not a terminal; nothing was deleted", "add --yes"
        )
    stderr().print(f"This can't be undone. Type {key} to delete all of the above: ", end="", markup=False)
    if sys.stdin.readline().strip() != deletion.route.key:
        raise CommandError("the name does not match; nothing was deleted")


def _delete(aws: Aws, deletions: Sequence[_Deletion]) -> None:
    for deletion in deletions:
        try:
            apply(aws, deletion.actions, RetryOptions(_RETRY_SECONDS))
        except ProvisionError as error:
            raise CommandError(
                f"{deletion.route.key}: {error}", next_step=f"{error.fix}; then run this command again"
            ) from error
        if deletion.actions:
            stderr().print(f"{printable(deletion.route.key)}: deleted", markup=False)
