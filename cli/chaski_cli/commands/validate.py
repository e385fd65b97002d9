"""Flags of `chaski validate`."""

import typer

from chaski_cli.options import Output, OutputFormat, Routes


def validate(routes: Routes, output: OutputFormat = Output.table) -> None:
    """Check route files by the rules of the Kubernetes API server; list every error.

    Exit code 2 if there is an error.

    [bold]Example:[/] chaski validate examples/*.yaml
    """
    from chaski_cli.route_files import run_validate  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_validate(routes, as_json=output is Output.json))
