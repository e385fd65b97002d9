"""Options that several commands share."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaski_replay.backends import BackendLocation

DEFAULT_DATA = Path(".chaski")
Files = Annotated[
    list[Path],
    typer.Argument(help="YAML files; each may hold several documents.", metavar="FILE", show_default=False),
]
Routes = Annotated[
    list[Path],
    typer.Argument(help="ChaskiRoute files; each may hold several documents.", metavar="FILE", show_default=False),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data", help="Data folder of a `chaski dev`, running or stopped.", metavar="DIR", envvar="CHASKI_DATA"
    ),
]
ResolvedFile = Annotated[
    Path | None,
    typer.Option(
        "--resolved",
        help="For routes on AWS: the file that `chaski provision` wrote. Takes precedence over --data.",
        metavar="FILE",
    ),
]
RouteName = Annotated[str | None, typer.Option("--route", help="Only this route.", metavar="NAMESPACE/NAME")]


class Output(StrEnum):
    """Output format."""

    table = "table"
    json = "json"


class ListOutput(StrEnum):
    """Output format of tables that also have a wide form."""

    table = "table"
    wide = "wide"
    json = "json"


OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="Output format.")]
ListFormat = Annotated[
    ListOutput, typer.Option("--output", "-o", help="Output format; `wide`: all columns, whole values.")
]


def deprecated(old: str, new: str) -> None:
    """Says on standard error that an option has another name now."""
    typer.echo(f"note: {old} is deprecated: use {new}", err=True)


def location_of(data: Path, resolved: Path | None, route: str | None) -> "BackendLocation":
    """Where dead letters and queues are, as given on the command line.

    Raises:
        CommandError: `route` is not the name of a route.
    """
    from chaski_core.route.model import is_route_key  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast
    from chaski_runtime.process.command_error import wrong_input  # noqa: PLC0415 - keeps help fast

    if route is None or is_route_key(route):
        return BackendLocation(data, resolved, route)
    if resolved is None and Path(route).exists():
        deprecated("--route FILE", f"--resolved {route}")
        return BackendLocation(data, Path(route))
    raise wrong_input(
        f'--route: expected NAMESPACE/NAME, got "{route}"', "for a file of resolved routes use --resolved FILE"
    )


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where dead letters and queues are."""

    data: Data = DEFAULT_DATA
    resolved: ResolvedFile = None
    route: RouteName = None

    def location(self) -> "BackendLocation":
        """See `location_of`."""
        return location_of(self.data, self.resolved, self.route)
