"""Route files: read for other commands, and checked by `chaski validate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from chaski_cli.output import emit_result, error_lines, printable, stdout
from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.policy.decision import selecting, violations
from chaski_core.policy.loading import load_policies
from chaski_core.policy.manifests import load_manifests
from chaski_core.policy.model import Policy, Violation
from chaski_core.retry.policy import Ladder, RetryPolicy
from chaski_core.route.model import Route
from chaski_runtime.process.command_error import ExitCode, wrong_input


@dataclass(frozen=True, slots=True)
class RouteFile:
    """A file of manifests with its errors; it has routes only if there are none."""

    path: Path
    routes: tuple[Route, ...]
    errors: tuple[FieldError, ...]
    policies: tuple[str, ...] = ()  # their names
    replays: tuple[str, ...] = ()  # namespace/name
    skipped: tuple[str, ...] = ()  # objects of kinds that are not Chaski's
    denied: Mapping[str, tuple[Violation, ...]] | None = None  # by route, those that a policy denies; None: not checked

    @property
    def names(self) -> list[str]:
        """What is checked, in words."""
        kinds = (("policy", self.policies), ("replay", self.replays))
        return [*(route.key for route in self.routes), *(f"{kind} {name}" for kind, names in kinds for name in names)]

    def as_json(self) -> dict[str, Any]:
        """`{file, valid, routes: [namespace/name], policies, replays, skipped, retry, faults: [{field, message}]}`.

        `retry`: the `spec.retry` in force, by route.

        Checked against policies also `denied: [{route, policy, field, message}]`.
        """
        denied = {} if self.denied is None else {"denied": _denied_json(self.denied)}
        return {
            "file": str(self.path),
            "valid": not self.errors,
            "routes": [route.key for route in self.routes],
            "policies": list(self.policies),
            "replays": list(self.replays),
            "skipped": list(self.skipped),
            "retry": {route.key: route.document["spec"]["retry"] for route in self.routes},
            "faults": [{"field": error.field, "message": error.message} for error in self.errors],
            **denied,
        }


def _denied_json(denied: Mapping[str, Sequence[Violation]]) -> list[dict[str, str]]:
    return [
        {"route": route, "policy": each.policy, "field": each.field, "message": each.message}
        for route, found in denied.items()
        for each in found
    ]


def run_validate(paths: Sequence[Path], policies: Sequence[Path], *, as_json: bool) -> ExitCode:
    """Prints the errors of each file, and with policies which routes they deny, and why.

    Raises:
        CommandError: a file of policies is invalid.
    """
    judge = _Judge.of(policies) if policies else None
    files = [file if judge is None else judge.judged(file) for file in check(paths)]
    if as_json:
        emit_result([file.as_json() for file in files], indented=True)
    else:
        for file in files:
            stdout().print(_summary(file), soft_wrap=True)
    if not any(file.errors or file.names for file in files):
        raise wrong_input(
            "these files have no ChaskiRoute, ChaskiPolicy or ChaskiReplay", "check the names of the files"
        )
    if any(file.errors for file in files):
        return ExitCode.WRONG_INPUT
    return ExitCode.FAILED if any(file.denied for file in files) else ExitCode.OK


@dataclass(frozen=True, slots=True)
class _Judge:
    """The policies of some files, and the labels of the namespaces that are declared in them."""

    policies: tuple[Policy, ...]
    namespaces: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> "_Judge":
        policies: list[Policy] = []
        namespaces: dict[str, Mapping[str, str]] = {}
        for path in paths:
            try:
                loaded = load_policies(path.read_text("utf-8"))
            except InvalidRouteError as error:
                lines = f"invalid policies\n{printable(str(path))}:\n{error_lines(error.errors)}"
                raise wrong_input(lines, "correct the file; docs/teams.md describes a ChaskiPolicy") from error
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise wrong_input(f"{printable(str(path))}: can't be read: {reason}") from error
            policies += loaded.policies
            namespaces |= loaded.namespaces
        return cls(tuple(policies), namespaces)

    def judged(self, file: RouteFile) -> RouteFile:
        """The file with what the policies deny. Those of a namespace whose labels are unknown are all taken to apply."""
        found = {route.key: tuple(violations(route, self._applying(route))) for route in file.routes}
        return replace(file, denied={key: each for key, each in found.items() if each})

    def _applying(self, route: Route) -> Sequence[Policy]:
        labels = self.namespaces.get(route.namespace)
        return self.policies if labels is None else selecting(self.policies, labels)


def check(paths: Sequence[Path]) -> list[RouteFile]:
    """Reads every file; a route that is in two files is an error of the second."""
    seen: dict[str, Path] = {}
    files = []
    for path in paths:
        file = _check_file(path)
        duplicates = [
            FieldError("metadata.name", f"{route.key} is already defined in {seen[route.key]}")
            for route in file.routes
            if route.key in seen
        ]
        seen.update((route.key, path) for route in file.routes)
        files.append(replace(file, routes=(), errors=tuple(duplicates)) if duplicates else file)
    return files


def load(paths: Sequence[Path]) -> list[Route]:
    """The routes of all files. Other documents are left out.

    Raises:
        CommandError: with every error of every file; or one has no route.
    """
    files = [
        file if file.routes or file.errors else replace(file, errors=(FieldError("", "has no ChaskiRoute"),))
        for file in check(paths)
    ]
    invalid = [file for file in files if file.errors]
    if invalid:
        errors = "\n".join(f"{printable(str(file.path))}:\n{error_lines(file.errors)}" for file in invalid)
        raise wrong_input(f"invalid routes\n{errors}", "correct them, then check with: chaski validate FILE")
    return [route for file in files for route in file.routes]


def _check_file(path: Path) -> RouteFile:
    try:
        found = load_manifests(path.read_text("utf-8"))
        return RouteFile(
            path,
            () if found.errors else tuple(found.routes.values()),
            tuple(found.errors),
            tuple(policy.name for policy in found.policies),
            tuple(found.replays),
            tuple(found.skipped),
        )
    except InvalidRouteError as error:
        return RouteFile(path, (), error.errors)
    except OSError as error:
        return RouteFile(path, (), (FieldError("", f"can't be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return RouteFile(path, (), (FieldError("", f"not UTF-8 text: {error}"),))


def _summary(file: RouteFile) -> Text:
    name = printable(str(file.path))
    skipped = f"\n  skipped: {printable(', '.join(file.skipped))}" if file.skipped else ""
    if not (file.errors or file.names):
        return Text(f"{name}: nothing to check{skipped}")
    if not file.errors:
        keys = ", ".join(file.names)
        retries = "".join(f"\n  {line}" for route in file.routes for line in retry_lines(route))
        denials = "".join(f"\n  {key}: denied: {each}" for key, found in (file.denied or {}).items() for each in found)
        verdict = ("valid, but denied by a policy", "red") if denials else ("valid", "green")
        return Text.assemble(f"{name}: ", verdict, f" ({keys}){retries}{denials}{skipped}")
    count = "1 error" if len(file.errors) == 1 else f"{len(file.errors)} errors"
    return Text.assemble(f"{name}: ", (count, "red"), f"\n{error_lines(file.errors)}{skipped}")


def retry_lines(route: Route) -> list[str]:
    """The ladders in force, those with the same rungs together: `a/b: 4xx: retried after 1 min, 15 min`."""
    classes: dict[str, list[str]] = {}
    for ladder in route.retry.ladders:
        classes.setdefault(_schedule(route.retry, ladder), []).append(ladder.error_class)
    lines = [f"{route.key}: {', '.join(names)}: {schedule}" for schedule, names in classes.items()]
    return lines or [f"{route.key}: not retried"]


def _schedule(policy: RetryPolicy, ladder: Ladder) -> str:
    if not ladder.retries:
        return "not retried"
    times = "" if ladder.retries_per_rung == 1 else f"{ladder.retries_per_rung} x "
    delays = (policy.rung(name).delay_seconds for name in ladder.rungs)
    return "retried after " + ", ".join(f"{times}{_delay(seconds)}" for seconds in delays)


def _delay(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
