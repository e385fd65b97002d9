"""Route files: read for other commands, and checked by `chaski validate`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from chaski_cli.output import emit_json, error_lines, printable, stdout
from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.retry.policy import Ladder, RetryPolicy
from chaski_core.route.loading import load_routes
from chaski_core.route.model import Route
from chaski_runtime.process.command_error import ExitCode, wrong_input


@dataclass(frozen=True, slots=True)
class RouteFile:
    """A route file with its errors; it has routes only if there are none."""

    path: Path
    routes: tuple[Route, ...]
    errors: tuple[FieldError, ...]

    def as_json(self) -> dict[str, Any]:
        """`{file, valid, routes: [namespace/name], retry: {namespace/name: spec.retry in force}, faults: [{field, message}]}`."""
        return {
            "file": str(self.path),
            "valid": not self.errors,
            "routes": [route.key for route in self.routes],
            "retry": {route.key: route.document["spec"]["retry"] for route in self.routes},
            "faults": [{"field": error.field, "message": error.message} for error in self.errors],
        }


def run_validate(paths: Sequence[Path], *, as_json: bool) -> ExitCode:
    """Prints the errors of each file."""
    files = check(paths)
    if as_json:
        emit_json([file.as_json() for file in files], indented=True)
    else:
        for file in files:
            stdout().print(_summary(file), soft_wrap=True)
    return ExitCode.WRONG_INPUT if any(file.errors for file in files) else ExitCode.OK


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
    """The routes of all files.

    Raises:
        CommandError: with every error of every file.
    """
    files = check(paths)
    invalid = [file for file in files if file.errors]
    if invalid:
        errors = "\n".join(f"{printable(str(file.path))}:\n{error_lines(file.errors)}" for file in invalid)
        raise wrong_input(f"invalid routes\n{errors}", "correct them, then check with: chaski validate FILE")
    return [route for file in files for route in file.routes]


def _check_file(path: Path) -> RouteFile:
    try:
        return RouteFile(path, tuple(load_routes(path.read_text("utf-8"))), ())
    except InvalidRouteError as error:
        return RouteFile(path, (), error.errors)
    except OSError as error:
        return RouteFile(path, (), (FieldError("", f"can't be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return RouteFile(path, (), (FieldError("", f"not UTF-8 text: {error}"),))


def _summary(file: RouteFile) -> Text:
    name = printable(str(file.path))
    if not file.errors:
        keys = ", ".join(route.key for route in file.routes)
        retries = "".join(f"\n  {line}" for route in file.routes for line in retry_lines(route))
        return Text.assemble(f"{name}: ", ("valid", "green"), f" ({keys}){retries}")
    count = "1 error" if len(file.errors) == 1 else f"{len(file.errors)} errors"
    return Text.assemble(f"{name}: ", (count, "red"), f"\n{error_lines(file.errors)}")


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
