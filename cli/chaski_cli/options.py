"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA = Path(".chaski")
Data = Annotated[Path, typer.Option("--data", help="Folder of the `chaski dev`, running or stopped.", metavar="DIR")]
RouteFile = Annotated[
    Path | None,
    typer.Option(
        "--route", help="Resolved route on AWS, as `chaski provision` wrote it; before --data.", metavar="FILE"
    ),
]


class Output(StrEnum):
    """A table for people, or JSON for machines."""

    table = "table"
    json = "json"
