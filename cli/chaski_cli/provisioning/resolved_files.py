"""The file of resolved routes, or a folder with one file each. Replaced atomically: processes may be watching it."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaski_core.errors import InvalidRouteError
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved, resolved_yaml
from chaski_runtime.process.command_error import CommandError


def read_resolved(file: Path) -> dict[str, ResolvedRoute]:
    """The resolved routes of earlier runs, by key; unreadable files are skipped."""
    files = sorted(file.glob("*.yaml")) if file.is_dir() else [file]
    found: dict[str, ResolvedRoute] = {}
    for each in files:
        try:
            found |= {resolved.route.key: resolved for resolved in load_resolved(each.read_text("utf-8"))}
        except (OSError, UnicodeDecodeError, InvalidRouteError):
            continue
    return found


def write_resolved(file: Path, former: Mapping[str, ResolvedRoute], resolved_routes: Sequence[ResolvedRoute]) -> None:
    """Writes resolved routes; other routes of the file stay as they are.

    Raises:
        CommandError: a file can't be written.
    """
    if not resolved_routes:
        return
    try:
        if file.is_dir():
            for resolved in resolved_routes:
                _replace(file / f"{resolved.route.namespace}.{resolved.route.name}.yaml", resolved_yaml([resolved]))
            return
        whole = {**former, **{resolved.route.key: resolved for resolved in resolved_routes}}
        _replace(file, resolved_yaml(whole.values()))
    except OSError as error:
        raise CommandError(
            f"{error.filename or file}: {error.strerror}", next_step="give a writable file, and run this command again"
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
