"""Which dead letters a command means: its filter, checked, and the confirmation before they are changed."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from chaski_cli.output import stderr
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.retry.outcome import ErrorClass
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.timestamps import parse_time
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.command_error import CommandError, wrong_input

_STATUS = re.compile(r"[3-5][0-9]{2}\Z")  # 2xx is a delivery
_NO_RULE = "none"  # target of a dead letter that no allow rule covered


@dataclass(frozen=True, slots=True)
class Search:
    """Which dead letters, as given on the command line."""

    since: str | None = None
    until: str | None = None
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None
    text: str | None = None
    replayed: bool | None = None

    def filter(self, now_ms: int, route: str | None = None) -> DeadLetterFilter:
        """The parsed filter.

        Args:
            now_ms: epoch milliseconds.
            route: namespace/name; None: of all routes.

        Raises:
            CommandError: a time or the class is invalid.
        """
        if self.error_class:
            _check_class(self.error_class)
        return DeadLetterFilter(
            route=route,
            since=_parse_time("--since", self.since, now_ms),
            until=_parse_time("--until", self.until, now_ms),
            subject=self.subject,
            target=self.target,
            error_class=self.error_class,
            text=self.text,
            replayed=self.replayed,
        )


def check_known_target(wanted: DeadLetterFilter, routes: Mapping[str, ResolvedRoute]) -> None:
    """For a search that found nothing: raises CommandError if no rule of the routes has the name of the wanted target.

    Dead letters of a removed rule keep its name, so it can't be checked before.
    """
    if wanted.target is None:
        return
    known = {
        rule.name
        for key, resolved in routes.items()
        for rule in resolved.route.allow
        if wanted.route is None or key == wanted.route
    }
    if wanted.target not in known | {_NO_RULE}:
        raise wrong_input(
            f"--target {wanted.target}: no rule in spec.targets.allow and no dead letter that matches has this name",
            f"known targets: {', '.join(sorted(known)) or 'none'}",
        )


def check_selected(
    location: BackendLocation, search: Search, ids: Sequence[str], *, every: bool, dry_run: bool
) -> None:
    """Dead letters are changed only if they are named: by ids, by a filter, or by `--all`; counting is always possible.

    Raises:
        CommandError: nothing names them, or two things that contradict each other.
    """
    is_named = bool(ids) or location.route is not None or any(each is not None for each in astuple(search))
    if every and is_named:
        raise wrong_input("--all excludes ids, --route and every filter", "leave out --all, or the others")
    if not (is_named or every or dry_run):
        raise wrong_input(
            "it is not clear which dead letters are meant; nothing was changed",
            "give ids, a filter such as --route, --since, --target or --class, or --all; --dry-run only counts",
        )


def confirm(question: str, count: int, *, yes: bool) -> None:
    """Asks to type the number of dead letters that are about to be changed.

    Raises:
        CommandError: standard input is not a terminal, or another number was typed.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise wrong_input(
            f"can't ask for confirmation ({count} dead letters): standard input is not a terminal; nothing was changed",
            "add --yes",
        )
    stderr().print(f"{question} Type {count} to confirm: ", end="", markup=False)
    if sys.stdin.readline().strip() != str(count):
        raise CommandError("not confirmed; nothing was changed")


def _check_class(name: str) -> None:
    if name in set(ErrorClass) or _STATUS.match(name):
        return
    raise wrong_input(
        f"--class {name}: there is no such error class",
        f"known classes: {', '.join(sorted(ErrorClass))}, and statuses such as 404",
    )


def _parse_time(flag: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, now_ms)
    except ValueError as error:
        raise wrong_input(f"{flag}: {error}") from error
