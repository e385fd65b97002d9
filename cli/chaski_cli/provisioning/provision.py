"""Runs `chaski provision`: each route on its own, then the file that ingest and workers read."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaski_aws.provision.actions import Action
from chaski_aws.provision.apply import Done, RetryOptions, apply
from chaski_aws.provision.clients import Aws, BotoAws
from chaski_aws.provision.desired import Desired, ProvisionSettings, desired, resolved_route, tag_fault
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import observe, observe_queues
from chaski_aws.provision.plan import DrainSample, drain_sample, is_drained, plan, plan_drained, seconds_until_drained
from chaski_aws.provision.state import GENERATION_TAG, Observed
from chaski_cli.output import emit_result, printable, stderr
from chaski_cli.provisioning.outcome import Outcome, print_outcomes
from chaski_cli.provisioning.resolved_files import read_resolved, write_resolved
from chaski_cli.route_files import load
from chaski_core.errors import ChaskiError
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_RETRY_SECONDS = 150.0  # SQS reserves a deleted name for 60 s; creating a table takes about 10 s
_PAUSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ProvisionOptions:
    """The command's flags, for all routes."""

    owner: str
    tags: tuple[str, ...]  # NAME=VALUE
    kms_key: str | None
    dry_run: bool
    as_json: bool

    def settings(self) -> ProvisionSettings:
        """The parsed settings. Raises CommandError for an invalid tag."""
        tags = {}
        for each in self.tags:
            name, is_pair, value = each.partition("=")
            if not is_pair or (fault := tag_fault(name, value)):
                raise wrong_input(f'--tag: expected NAME=VALUE, got "{each}"' + (f"; {fault}" if is_pair else ""))
            tags[name] = value
        if not self.owner:
            raise wrong_input(
                "--owner is missing: it names this installation in the tags; installations with one name share queues",
                'give --owner NAME or set CHASKI_OWNER; a release with a default used "chaski"',
            )
        return ProvisionSettings(self.owner, tags, kms_key=self.kms_key)


@dataclass(frozen=True, slots=True)
class OlderQueues:
    """Observed queues that are no longer wanted."""

    wanted: Desired
    observed: Observed


def run_provision(paths: Sequence[Path], file: Path, options: ProvisionOptions, *, wait: bool) -> ExitCode:
    """Provisions the routes. If one fails, the others continue, and its former resolved route stays in the file."""
    routes, settings = load(paths), options.settings()
    aws = connect()
    former = read_resolved(file)
    outcomes, older = [], []
    for route in routes:
        outcome, queues = _provision(aws, route, settings, former.get(route.key), options)
        outcomes.append(outcome)
        older.append(queues)
    if not options.dry_run:
        write_resolved(file, former, [outcome.resolved for outcome in outcomes if outcome.resolved])
        outcomes = [
            _delete_drained(aws, outcome, queues, file, wait=wait) if queues else outcome
            for outcome, queues in zip(outcomes, older, strict=True)
        ]
    if options.as_json:
        emit_result({"dryRun": options.dry_run, "routes": [outcome.as_json() for outcome in outcomes]}, indented=True)
    else:
        print_outcomes(outcomes, None if options.dry_run else file)
    return ExitCode.FAILED if any(outcome.error for outcome in outcomes) else ExitCode.OK


def connect() -> BotoAws:
    """Clients with the standard AWS configuration. Raises CommandError if it is missing."""
    try:
        return BotoAws()
    except ProvisionError as error:
        raise CommandError(str(error), next_step=error.fix) from error


def _provision(
    aws: Aws, route: Route, settings: ProvisionSettings, former: ResolvedRoute | None, options: ProvisionOptions
) -> tuple[Outcome, OlderQueues | None]:
    done: list[Action] = []
    try:
        observed = observe(aws, route, settings, former)
        wanted = desired(route, observed, settings)
        actions = plan(wanted, observed)
        draining = _draining(wanted, observed)
        if options.dry_run:
            return Outcome(route, actions, draining), None
        applied = apply(aws, actions, RetryOptions(_RETRY_SECONDS, on_done=lambda each: _record(done, each)))
    except ChaskiError as error:
        return Outcome(route, tuple(done), error=error), None
    resolved = resolved_route(wanted, observed, applied.urls)
    return Outcome(route, tuple(done), draining, resolved), OlderQueues(wanted, observed) if draining else None


def _draining(wanted: Desired, observed: Observed) -> tuple[str, ...]:
    return tuple(queue.name for queue in observed.own_queues if queue.name not in wanted.names)


def _record(done: list[Action], each: Done) -> None:
    done.append(each.action)
    description = (
        each.action.description if each.supported else f"{each.action.description}: not supported by this service"
    )
    stderr().print(f"{printable(each.action.resource)}: {printable(description)}", style="dim", markup=False)


def _delete_drained(aws: BotoAws, outcome: Outcome, older: OlderQueues, file: Path, *, wait: bool) -> Outcome:
    done = list(outcome.actions)
    try:
        drained = find_drained(aws, older, wait=wait, now=aws.clock.seconds)
        actions = plan_drained(older.wanted, older.observed, drained)
        deleted = {action.resource for action in actions}
        if not deleted or outcome.resolved is None:
            return outcome
        urls = {url.rpartition("/")[2]: url for urls in outcome.resolved.current.queues.values() for url in urls}
        urls |= {each.url.rpartition("/")[2]: each.url for each in outcome.resolved.rungs}
        resolved = resolved_route(older.wanted, older.observed, urls, deleted)
        write_resolved(file, read_resolved(file), [resolved])  # first: every queue in the file must exist
        apply(aws, actions, RetryOptions(on_done=lambda each: _record(done, each)))
    except ChaskiError as error:
        return Outcome(outcome.route, tuple(done), outcome.draining, outcome.resolved, error)
    left = tuple(name for name in outcome.draining if name not in deleted)
    return Outcome(outcome.route, tuple(done), left, resolved)


def find_drained(
    aws: Aws,
    older: OlderQueues,
    *,
    wait: bool,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> frozenset[str]:
    """Names of the older queues that are permanently empty.

    Queues whose sending was blocked by this run are left to a later run, as is every generation with a message in one of
    its queues; does not wait if no queue is left.
    """
    old = [queue for queue in older.observed.own_queues if queue.name not in older.wanted.names]
    busy = {queue.tags.get(GENERATION_TAG, queue.name) for queue in old if not queue.is_blocked or queue.counts.total}
    names = {queue.name for queue in old if queue.tags.get(GENERATION_TAG, queue.name) not in busy}
    if not wait or not names:
        return frozenset()
    samples: dict[str, list[DrainSample]] = {name: [] for name in names}
    deadline: float | None = None
    while True:
        found = observe_queues(aws, names)
        names = {name for name in names if name in found and not found[name].counts.total}
        for name in names:
            samples[name].append(drain_sample(found[name], now()))
        drained = frozenset(name for name in names if is_drained(samples[name]))
        if deadline is None:
            takes = seconds_until_drained([samples[name][0] for name in names], now())
            deadline = now() + takes + 2 * _PAUSE_SECONDS
            if names:
                stderr().print(f"checking for {takes:.0f} s whether {len(names)} older queues are empty", style="dim")
        if drained == names or now() >= deadline:
            return drained
        sleep(_PAUSE_SECONDS)
