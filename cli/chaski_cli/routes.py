"""Route files, read for the commands that check or run them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaski_cli.errors import wrong_input
from chaski_cli.output import fault_lines, printable
from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.route.loading import load_routes
from chaski_core.route.model import Route


@dataclass(frozen=True, slots=True)
class Checked:
    """A route file and what is wrong with it; routes only if nothing is."""

    path: Path
    routes: tuple[Route, ...]
    faults: tuple[FieldError, ...]

    def as_json(self) -> dict[str, Any]:
        """`{file, valid, routes: [namespace/name], faults: [{field, message}]}`."""
        return {
            "file": str(self.path),
            "valid": not self.faults,
            "routes": [route.key for route in self.routes],
            "faults": [{"field": fault.field, "message": fault.message} for fault in self.faults],
        }


def check(paths: Sequence[Path]) -> list[Checked]:
    """Reads every file, and sees to it that no two of them hold the same route."""
    seen: dict[str, Path] = {}
    files = []
    for path in paths:
        checked = _check_file(path)
        twice = [
            FieldError("metadata.name", f"{route.key} is in {seen[route.key]} already")
            for route in checked.routes
            if route.key in seen
        ]
        seen.update((route.key, path) for route in checked.routes)
        files.append(replace(checked, routes=(), faults=tuple(twice)) if twice else checked)
    return files


def load(paths: Sequence[Path]) -> list[Route]:
    """The routes of all files.

    Raises:
        CommandError: with every fault of every file.
    """
    files = check(paths)
    wrong = [checked for checked in files if checked.faults]
    if wrong:
        told = "\n".join(f"{printable(str(checked.path))}:\n{fault_lines(checked.faults)}" for checked in wrong)
        raise wrong_input(f"these routes can't be used\n{told}", "mend them, then check with: chaski validate FILE")
    return [route for checked in files for route in checked.routes]


def _check_file(path: Path) -> Checked:
    try:
        return Checked(path, tuple(load_routes(path.read_text("utf-8"))), ())
    except InvalidRouteError as error:
        return Checked(path, (), error.faults)
    except OSError as error:
        return Checked(path, (), (FieldError("", f"can't be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return Checked(path, (), (FieldError("", f"is not UTF-8 text: {error}"),))
