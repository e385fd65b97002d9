"""Flags of `chaski provision` and `chaski deprovision`."""

from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import Output, OutputFormat, Routes

_Owner = Annotated[
    str,
    typer.Option(
        help="Name of this installation (required). Installations in one AWS account never touch each other's resources.",
        envvar="CHASKI_OWNER",
        show_default=False,
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]


def provision(  # noqa: PLR0913 - one parameter per option of the command
    *,
    routes: Routes,
    resolved: Annotated[
        Path,
        typer.Option(
            "-o", "--resolved", help="File for the resolved routes; or a folder, one file each.", metavar="PATH"
        ),
    ] = Path("resolved.yaml"),
    dry_run: _DryRun = False,
    owner: _Owner = "",
    tag: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for all queues and tables; repeatable.")] = None,
    kms_key: Annotated[
        str | None, typer.Option(help="KMS key of the queues. Default: encryption with SQS's own key.")
    ] = None,
    wait: Annotated[
        bool, typer.Option(help="Watch older queues for a minute, and delete those that stay empty.")
    ] = True,
    output: OutputFormat = Output.table,
) -> None:
    """Create the SQS queues and the DynamoDB table of routes, correct drift, write the file that ingest and workers read.

    Changes only resources with this installation's tags. May be repeated and interrupted: the next run continues.

    [bold]Example:[/] chaski provision route.yaml --owner staging -o resolved.yaml
    """
    from chaski_cli.provisioning.provision import ProvisionOptions, run_provision  # noqa: PLC0415 - keeps help fast

    options = ProvisionOptions(owner, tuple(tag or ()), kms_key, dry_run, as_json=output is Output.json)
    raise typer.Exit(run_provision(routes, resolved, options, wait=wait))


def deprovision(  # noqa: PLR0913 - one parameter per option of the command
    *,
    routes: Routes,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also delete queues that hold messages; these are lost.")
    ] = False,
    keep_dead_letters: Annotated[bool, typer.Option("--keep-dead-letters", help="Do not delete the table.")] = False,
    dry_run: _DryRun = False,
    owner: _Owner = "",
    output: OutputFormat = Output.table,
) -> None:
    """Delete the queues and the table of routes, with everything in them.

    Deletes only resources with this installation's tags, including older generations and retired rungs.

    [bold]Example:[/] chaski deprovision route.yaml --owner staging
    """
    from chaski_cli.provisioning.deprovision import Consent, run_deprovision  # noqa: PLC0415 - keeps help fast
    from chaski_cli.provisioning.provision import ProvisionOptions  # noqa: PLC0415 - keeps help fast

    options = ProvisionOptions(owner, (), None, dry_run, as_json=output is Output.json)
    raise typer.Exit(run_deprovision(routes, options, Consent(yes, force), keep_dead_letters=keep_dead_letters))
