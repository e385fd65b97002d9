"""Flags of `chaski validate`."""

from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import Files, Output, OutputFormat

_Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy",
        help="Also check against the ChaskiPolicies of this file; repeatable. The Namespaces in it decide which of them apply; "
        "to a route of any other namespace all apply.",
        metavar="FILE",
    ),
]


def validate(files: Files, policy: _Policies = None, output: OutputFormat = Output.table) -> None:
    """Check ChaskiRoutes, ChaskiPolicies and ChaskiReplays by the rules of the Kubernetes API server; list every error.

    Objects of other kinds in the files are skipped, with a note.

    Exit code 2 if there is an error; 1 if all are valid, but a policy denies one.

    [bold]Example:[/] chaski validate examples/*.yaml

    [bold]Example:[/] chaski validate routes/*.yaml --policy policies.yaml
    """
    from chaski_cli.route_files import run_validate  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_validate(files, policy or (), as_json=output is Output.json))
