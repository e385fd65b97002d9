"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA = Path(".chaski")
Routes = Annotated[
    list[Path], typer.Argument(help="ChaskiRoute files; each may hold several documents.", show_default=False)
]
Data = Annotated[Path, typer.Option("--data", help="Data folder of a `chaski dev`, running or stopped.", metavar="DIR")]
RouteFile = Annotated[
    Path | None,
    typer.Option(
        "--route",
        help="Resolved route on AWS, as written by `chaski provision`. Takes precedence over --data.",
        metavar="FILE",
    ),
]


class Output(StrEnum):
    """Output format."""

    table = "table"
    json = "json"


OutputFormat = Annotated[Output, typer.Option("--output", help="Output format: `table` or `json`.")]
