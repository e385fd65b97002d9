"""Runs `chaski provision`: each route by itself, then the file that ingest and workers read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaski_aws.provision.actions import Action
from chaski_aws.provision.apply import Done, Patience, apply
from chaski_aws.provision.clients import Aws, BotoAws
from chaski_aws.provision.desired import Desired, desired
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import survey
from chaski_aws.provision.plan import plan, plan_drained
from chaski_aws.provision.resolve import resolved_route
from chaski_aws.provision.settings import ProvisionSettings
from chaski_aws.provision.state import Observed
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.output import emit_json, printable, stderr
from chaski_cli.provisioning import show
from chaski_cli.provisioning.files import read_remembered, write_resolved
from chaski_cli.provisioning.waiting import Watch, watch_drained
from chaski_cli.routes import load
from chaski_core.errors import ChaskiError
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_document

_PATIENCE_SECONDS = 150.0  # a name that was just deleted is taken for 60 s; a table takes some 10 s to be made


@dataclass(frozen=True, slots=True)
class ProvisionOptions:
    """What is asked of all routes."""

    owner: str
    tags: tuple[str, ...]  # NAME=VALUE
    kms_key: str | None
    dry_run: bool
    as_json: bool

    def settings(self) -> ProvisionSettings:
        """The same, understood. Raises CommandError for a tag that is none."""
        tags = {}
        for each in self.tags:
            name, is_pair, value = each.partition("=")
            if not is_pair or not name or name.startswith(("aws:", "chaski.dev/")):
                raise wrong_input(
                    f'--tag "{each}": write NAME=VALUE; names that begin with aws: or chaski.dev/ are taken'
                )
            tags[name] = value
        if not self.owner:
            raise wrong_input(
                "--owner is missing: it names this installation in the tags, and two people or clusters that share a name "
                "share queues",
                'give --owner NAME or set CHASKI_OWNER; what was made by a release with a default belongs to "chaski"',
            )
        return ProvisionSettings(self.owner, tags, self.kms_key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one route."""

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


def run_provision(paths: Sequence[Path], file: Path, asked: ProvisionOptions, *, wait: bool) -> Exit:
    """Makes what the routes need. One that can't be made does not hold up the others; its former document stays."""
    routes, settings = load(paths), asked.settings()
    aws = connect()
    remembered = read_remembered(file)
    outcomes, drops = [], []
    for route in routes:
        outcome, drop = _provision(aws, route, settings, remembered.get(route.key), asked)
        outcomes.append(outcome)
        drops.append(drop)
    if not asked.dry_run:
        write_resolved(file, remembered, [outcome.resolved for outcome in outcomes if outcome.resolved])
        outcomes = [
            _drop_drained(aws, outcome, drop, file, wait=wait) if drop else outcome
            for outcome, drop in zip(outcomes, drops, strict=True)
        ]
    if asked.as_json:
        emit_json({"dryRun": asked.dry_run, "routes": [outcome.as_json() for outcome in outcomes]}, indented=True)
    else:
        show.outcomes(outcomes, None if asked.dry_run else file)
    return Exit.FAILED if any(outcome.error for outcome in outcomes) else Exit.OK


def connect() -> BotoAws:
    """Clients by the usual AWS configuration. Raises CommandError where there is none."""
    try:
        return BotoAws()
    except ProvisionError as error:
        raise CommandError(str(error), next_step=error.fix) from error


def _provision(
    aws: Aws, route: Route, settings: ProvisionSettings, remembered: ResolvedRoute | None, asked: ProvisionOptions
) -> tuple[Outcome, Watch | None]:
    done: list[Action] = []
    try:
        observed = survey(aws, route, settings, remembered)
        wanted = desired(route, observed.generations, settings)
        actions = plan(wanted, observed)
        draining = _draining(wanted, observed)
        if asked.dry_run:
            return Outcome(route, actions, draining), None
        applied = apply(aws, actions, Patience(_PATIENCE_SECONDS, on_done=lambda each: _tell(done, each)))
    except ChaskiError as error:
        return Outcome(route, tuple(done), error=error), None
    resolved = resolved_route(wanted, observed, applied.urls)
    return Outcome(route, tuple(done), draining, resolved), Watch(wanted, observed) if draining else None


def _draining(wanted: Desired, observed: Observed) -> tuple[str, ...]:
    return tuple(queue.name for queue in observed.own_queues if queue.name not in wanted.names)


def _tell(done: list[Action], each: Done) -> None:
    done.append(each.action)
    said = each.action.told if each.offered else f"{each.action.told}: this service has no such thing"
    stderr().print(f"{printable(each.action.resource)}: {printable(said)}", style="dim", markup=False)


def _drop_drained(aws: BotoAws, outcome: Outcome, drop: Watch, file: Path, *, wait: bool) -> Outcome:
    done = list(outcome.actions)
    try:
        drained = watch_drained(aws, drop, wait=wait, now=aws.clock.seconds)
        actions = plan_drained(drop.wanted, drop.observed, drained)
        gone = {action.resource for action in actions}
        if not gone or outcome.resolved is None:
            return outcome
        urls = {url.rpartition("/")[2]: url for urls in outcome.resolved.current.queues.values() for url in urls}
        urls |= {each.url.rpartition("/")[2]: each.url for each in outcome.resolved.rungs}
        resolved = resolved_route(drop.wanted, drop.observed, urls, gone)
        write_resolved(file, read_remembered(file), [resolved])  # first: a queue that is named must be there
        apply(aws, actions, Patience(on_done=lambda each: _tell(done, each)))
    except ChaskiError as error:
        return Outcome(outcome.route, tuple(done), outcome.draining, outcome.resolved, error)
    left = tuple(name for name in outcome.draining if name not in gone)
    return Outcome(outcome.route, tuple(done), left, resolved)
