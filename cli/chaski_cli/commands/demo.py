"""Flags of `chaski demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Keep messages and logs in this folder; it must be empty.", metavar="DIR")
    ] = None,
) -> None:
    """Send 200 messages to a target that fails in three ways, and check the outcome of each.

    Takes about 70 seconds. Exit code 0 if and only if every figure is exact.

    [bold]Example:[/] chaski demo
    """
    from chaski_cli.demo.run import run_demo  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_demo(data, as_json=as_json))
