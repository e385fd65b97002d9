"""The file of resolved routes, or a folder with one for each. Written as a whole or not at all: it may be watched."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaski_cli.errors import CommandError
from chaski_core.errors import InvalidRouteError
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved, resolved_yaml


def read_remembered(file: Path) -> dict[str, ResolvedRoute]:
    """The routes that were resolved before, by key; what can't be read is not remembered."""
    files = sorted(file.glob("*.yaml")) if file.is_dir() else [file]
    found: dict[str, ResolvedRoute] = {}
    for each in files:
        try:
            found |= {resolved.route.key: resolved for resolved in load_resolved(each.read_text("utf-8"))}
        except (OSError, UnicodeDecodeError, InvalidRouteError):
            continue
    return found


def write_resolved(file: Path, remembered: Mapping[str, ResolvedRoute], made: Sequence[ResolvedRoute]) -> None:
    """Writes what was made; in a file of several routes the others stay as they were.

    Raises:
        CommandError: it can't be written.
    """
    if not made:
        return
    try:
        if file.is_dir():
            for resolved in made:
                _replace(file / f"{resolved.route.namespace}.{resolved.route.name}.yaml", resolved_yaml([resolved]))
            return
        whole = {**remembered, **{resolved.route.key: resolved for resolved in made}}
        _replace(file, resolved_yaml(whole.values()))
    except OSError as error:
        raise CommandError(
            f"{error.filename or file}: {error.strerror}", next_step="name a file that can be written, and run it again"
        ) from error


def _replace(file: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
