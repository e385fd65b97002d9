"""Flags of `chaski targets`: the held targets of ChaskiRoutes in a cluster."""

from typing import Annotated

import typer

from chaski_cli.options import Output, OutputFormat

targets = typer.Typer(
    help="List the targets of routes in a cluster; hold and release them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_Route = Annotated[str, typer.Argument(help="Name of the ChaskiRoute.", metavar="ROUTE", show_default=False)]
_Target = Annotated[
    str, typer.Argument(help="Name of the rule in spec.targets.allow.", metavar="TARGET", show_default=False)
]
_Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: that of the kubeconfig's context.", metavar="NS")
]


@targets.command("list")
def list_targets(
    route: Annotated[str | None, typer.Argument(help="Default: all ChaskiRoutes.", metavar="ROUTE")] = None,
    *,
    namespace: _Namespace = None,
    output: OutputFormat = Output.table,
) -> None:
    """List the targets of the routes in a namespace, and why and since when they are held.

    Reads the status, which the operator updates within a minute. `chaski_target_held` has the current state.

    [bold]Example:[/] chaski targets list conversations -n helpdesk
    """
    from chaski_cli.targets.cluster import run_list  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_list(namespace, route, as_json=output is Output.json))


@targets.command("hold")
def hold(route: _Route, target: _Target, *, namespace: _Namespace = None) -> None:
    """Hold a target: nothing is sent to it, and its messages wait in order, without using retries.

    Sets `suspend` of its rule in the ChaskiRoute. Workers follow within 90 seconds.

    [bold]Example:[/] chaski targets hold conversations partners -n helpdesk
    """
    from chaski_cli.targets.cluster import run_suspend  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_suspend(namespace, route, target, suspend=True))


@targets.command("release")
def release(route: _Route, target: _Target, *, namespace: _Namespace = None) -> None:
    """Release a target that was held by `chaski targets hold`, or by `suspend` of its rule.

    A hold by a breaker ends by itself when the target answers a probe.

    [bold]Example:[/] chaski targets release conversations partners -n helpdesk
    """
    from chaski_cli.targets.cluster import run_suspend  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_suspend(namespace, route, target, suspend=False))
