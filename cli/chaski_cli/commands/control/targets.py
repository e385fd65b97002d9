"""Flags of `chaski targets`: the held targets of ChaskiRoutes in a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chaski_cli.options import ListFormat, ListOutput, RouteName, deprecated

if TYPE_CHECKING:
    from chaski_cli.cluster.access import ClusterOptions

targets = typer.Typer(
    help="List the targets of routes in a cluster; hold and release them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: that of the kubeconfig's context.", metavar="NS")
]
Context = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig. Default: the current one.", metavar="NAME")
]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Kubeconfig. Default: as kubectl finds it.", metavar="FILE")
]
_OldRoute = Annotated[str | None, typer.Argument(hidden=True)]  # of releases up to 0.1
_Target = Annotated[
    list[str],
    typer.Argument(help="Name of the rule in spec.targets.allow.", metavar="TARGET", show_default=False),
]


@targets.command("list")
def list_targets(
    old_route: _OldRoute = None,
    *,
    route: RouteName = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: ListFormat = ListOutput.table,
) -> None:
    """List the targets of the routes in a namespace, and why and since when they are held.

    Reads the status, which the operator updates within a minute. `chaski_target_held` has the current state.

    [bold]Example:[/] chaski targets list --route helpdesk/conversations

    [bold]Example:[/] chaski targets list -n helpdesk --output wide
    """
    from chaski_cli.cluster.targets import run_list  # noqa: PLC0415 - keeps help fast

    if old_route is not None:
        deprecated("the argument ROUTE", "--route NAMESPACE/NAME")
    raise typer.Exit(run_list(_cluster(namespace, context, kubeconfig), route or old_route, output.value))


@targets.command("hold")
def hold(
    target: _Target,
    *,
    route: RouteName = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Hold a target: nothing is sent to it, and its messages wait in order, without using retries.

    Sets `suspend` of its rule in the ChaskiRoute. Workers follow within 90 seconds.

    [bold]Example:[/] chaski targets hold partners --route helpdesk/conversations
    """
    _suspend(_cluster(namespace, context, kubeconfig), route, target, suspend=True)


@targets.command("release")
def release(
    target: _Target,
    *,
    route: RouteName = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Release a target that was held by `chaski targets hold`, or by `suspend` of its rule.

    A hold by a breaker ends by itself when the target answers a probe.

    [bold]Example:[/] chaski targets release partners --route helpdesk/conversations
    """
    _suspend(_cluster(namespace, context, kubeconfig), route, target, suspend=False)


def _suspend(options: "ClusterOptions", route: str | None, words: list[str], *, suspend: bool) -> None:
    from chaski_cli.cluster.targets import run_suspend  # noqa: PLC0415 - keeps help fast

    *before, target = words
    if route is None and len(before) == 1:  # ROUTE TARGET, of releases up to 0.1
        (route,) = before
        deprecated("the argument ROUTE", "--route NAMESPACE/NAME")
    elif before:
        raise typer.BadParameter("give one TARGET")
    if route is None:
        raise typer.BadParameter("--route is missing")
    raise typer.Exit(run_suspend(options, route, target, suspend=suspend))


def _cluster(namespace: str | None, context: str | None, kubeconfig: Path | None) -> "ClusterOptions":
    from chaski_cli.cluster.access import ClusterOptions  # noqa: PLC0415 - keeps help fast

    return ClusterOptions(namespace, context, kubeconfig)
