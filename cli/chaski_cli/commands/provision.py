"""Flags of the commands for AWS: `chaski provision`, `chaski deprovision`, `chaski iam`."""

from enum import StrEnum
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

iam = typer.Typer(
    help="Print IAM policies for the roles of Chaski's processes.", no_args_is_help=True, rich_markup_mode="rich"
)


class RoleOption(StrEnum):
    """Whose role; the same names as `chaski_aws.iam.permissions.Role`, whose import would slow down help."""

    worker = "worker"
    replayer = "replayer"
    reader = "reader"
    subjects = "subjects"
    ingest = "ingest"
    console = "console"
    operator = "operator"


class By(StrEnum):
    """What binds a role to namespaces."""

    name = "name"
    tags = "tags"


_Role = Annotated[RoleOption, typer.Option("--role", help="Whose role it is.")]
_Account = Annotated[str, typer.Option(help="AWS account.", metavar="ACCOUNT")]
_Partition = Annotated[str, typer.Option(help="aws, aws-cn or aws-us-gov.", metavar="NAME")]
_Output = Annotated[Output, typer.Option("--output", help="Output format.")]  # -o is --resolved here
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
        str | None,
        typer.Option(
            help='KMS key of queues and tables, by its ARN; spec.encryption takes precedence. "": AWS\'s own keys. '
            "Default: keys that are found are kept."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option(help="Watch older queues for a minute, and delete those that stay empty.")
    ] = True,
    output: _Output = Output.table,
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


@iam.command()
def policy(  # noqa: PLR0913 - one parameter per option of the command
    *,
    role: _Role = RoleOption.worker,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Namespace of the routes; repeatable.", metavar="NS", show_default=False)
    ] = None,
    installation: Annotated[
        str,
        typer.Option(
            "--installation",
            help="Name of the installation: --owner of chaski provision, installation of the chart, by default the UID of "
            "kube-system.",
            envvar="CHASKI_OWNER",
            show_default=False,
        ),
    ] = "",
    by: Annotated[
        By, typer.Option(help="name: by prefix, for the namespaces given. tags: for Pod Identity, any namespace.")
    ] = By.name,
    resolved: Annotated[
        list[Path] | None,
        typer.Option(
            help="Resolved routes: adds queues and tables that an earlier release named; repeatable.", metavar="FILE"
        ),
    ] = None,
    kms_key: Annotated[
        list[str] | None,
        typer.Option(
            help="ARN of a KMS key of queues and tables: adds its use through SQS and DynamoDB; repeatable.",
            metavar="ARN",
        ),
    ] = None,
    account: _Account = "*",
    region: Annotated[str, typer.Option(help="AWS region.", metavar="REGION")] = "*",
    partition: _Partition = "aws",
) -> None:
    """Print the policy of a role: what it may do with the queues and tables of its namespaces, and with no others.

    Ingest, console and operator serve all namespaces of the installation unless --namespace limits them.

    [bold]Example:[/] chaski iam policy --namespace helpdesk --installation production
    """
    from chaski_cli.provisioning.iam import PolicyOptions, run_policy  # noqa: PLC0415 - keeps help fast

    files, keys = tuple(resolved or ()), tuple(kms_key or ())
    options = PolicyOptions(role.value, tuple(namespace or ()), installation, by is By.tags, files, keys)
    raise typer.Exit(run_policy(options, partition, account, region))


@iam.command()
def trust(
    *,
    role: _Role = RoleOption.worker,
    namespace: Annotated[
        str,
        typer.Option(
            help="Namespace of the ServiceAccounts. Required with --oidc-provider.", metavar="NS", show_default=False
        ),
    ] = "",
    cluster: Annotated[str, typer.Option(help="EKS cluster: trust by Pod Identity.", metavar="NAME")] = "",
    oidc_provider: Annotated[
        str, typer.Option(help="OIDC provider of the cluster: trust by IRSA.", metavar="URL")
    ] = "",
    account: _Account = "",
    partition: _Partition = "aws",
) -> None:
    """Print the trust policy of a role: which ServiceAccounts may take it.

    [bold]Example:[/] chaski iam trust --namespace helpdesk --cluster production --account 111122223333
    """
    from chaski_cli.provisioning.iam import TrustOptions, run_trust  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_trust(TrustOptions(role.value, namespace, cluster, oidc_provider, account, partition)))
