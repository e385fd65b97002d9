"""The commands that make and drop what a route needs on AWS."""

from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import Output

_Routes = Annotated[list[Path], typer.Argument(help="ChaskiRoute files; each may hold several documents.")]
_Owner = Annotated[
    str,
    typer.Option(
        help="Names this installation, needed; two that share an account never touch each other's.",
        envvar="CHASKI_OWNER",
        show_default=False,
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
_Output = Annotated[Output, typer.Option(help="For people or for machines.")]


def provision(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    routes: _Routes,
    resolved: Annotated[
        Path,
        typer.Option(
            "-o", "--resolved", help="File for the resolved routes; a folder gets one for each.", metavar="PATH"
        ),
    ] = Path("resolved.yaml"),
    dry_run: _DryRun = False,
    owner: _Owner = "",
    tag: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for all queues and tables; repeatable.")] = None,
    kms_key: Annotated[str | None, typer.Option(help="KMS key of the queues; SQS's own unless given.")] = None,
    wait: Annotated[
        bool, typer.Option(help="Look for a minute whether older queues are empty for good, and delete those.")
    ] = True,
    output: _Output = Output.table,
) -> None:
    """Make the SQS queues and the DynamoDB table of routes; mend what differs; write what ingest and workers read.

    Only what carries this installation's tags is ever changed. May be repeated and interrupted: a second run goes on.

    [bold]Example:[/] chaski provision route.yaml --owner staging -o resolved.yaml
    """
    from chaski_cli.provisioning.command import ProvisionOptions, run_provision  # noqa: PLC0415 - keeps help quick

    asked = ProvisionOptions(owner, tuple(tag or ()), kms_key, dry_run, as_json=output is Output.json)
    raise typer.Exit(run_provision(routes, resolved, asked, wait=wait))


def deprovision(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    routes: _Routes,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where queues hold messages: they are lost.")] = False,
    keep_dead_letters: Annotated[bool, typer.Option("--keep-dead-letters", help="Leave the table.")] = False,
    dry_run: _DryRun = False,
    owner: _Owner = "",
    output: _Output = Output.table,
) -> None:
    """Delete the queues and the table of routes, with all that is in them.

    Only what carries this installation's tags is deleted, older generations and retired rungs included.

    [bold]Example:[/] chaski deprovision route.yaml --owner staging
    """
    from chaski_cli.provisioning.command import ProvisionOptions  # noqa: PLC0415 - keeps help quick
    from chaski_cli.provisioning.dropping import Consent, run_deprovision  # noqa: PLC0415 - as above

    asked = ProvisionOptions(owner, (), None, dry_run, as_json=output is Output.json)
    raise typer.Exit(run_deprovision(routes, asked, Consent(yes, force), keep_dead_letters=keep_dead_letters))
