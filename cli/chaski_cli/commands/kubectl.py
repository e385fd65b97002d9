"""Flags of the kubectl plugin `kubectl chaski`: the commands about one ChaskiRoute of a cluster, by the same code."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from chaski_cli.commands.control.subjects import list_subjects
from chaski_cli.commands.control.targets import Context, Kubeconfig, Namespace
from chaski_cli.commands.dead_letters import Listing, Replaying, list_dead_letters, replay_dead_letters
from chaski_cli.commands.trace import LogFile, SubjectOption, TextOption, Tracing, trace_messages
from chaski_cli.options import ListFormat, ListOutput
from chaski_runtime.process.command import add_command, service_app
from chaski_runtime.process.command_error import ExitCode

if TYPE_CHECKING:
    from chaski_cli.cluster.access import ClusterOptions
    from chaski_replay.backends import BackendLocation

_DESCRIPTION = """Inspect one ChaskiRoute of a cluster: its status, dead letters, messages, targets and subjects.

The route is read with your kubeconfig: queues and table are in its status. Its queues and table are read and written with
your AWS credentials; `kubectl chaski status` and `targets` need none."""


@dataclass(frozen=True, kw_only=True)
class _OfRoute:
    """Which route of which cluster."""

    route: Annotated[
        str, typer.Argument(help="NAMESPACE/NAME, or NAME with -n.", metavar="NS/ROUTE", show_default=False)
    ]
    namespace: Namespace = None
    context: Context = None
    kubeconfig: Kubeconfig = None

    def cluster(self) -> "ClusterOptions":
        """The cluster."""
        from chaski_cli.cluster.access import ClusterOptions  # noqa: PLC0415 - keeps help fast

        return ClusterOptions(self.namespace, self.context, self.kubeconfig)

    def location(self) -> "BackendLocation":
        """Queues and table of the route."""
        from chaski_cli.cluster.routes import cluster_location  # noqa: PLC0415 - keeps help fast

        return cluster_location(self.cluster(), self.route)


@dataclass(frozen=True, kw_only=True)
class _Shown(_OfRoute):
    output: ListFormat = ListOutput.table


@dataclass(frozen=True, kw_only=True)
class _DeadLetters(Listing, _OfRoute):
    pass


@dataclass(frozen=True, kw_only=True)
class _Replay(Replaying, _OfRoute):
    pass


@dataclass(frozen=True, kw_only=True)
class _Trace(_OfRoute):
    message_id: Annotated[
        str | None, typer.Argument(help="Id of the message, from ingest's response.", metavar="ID")
    ] = None
    logs: LogFile = None
    subject: SubjectOption = None
    text: TextOption = None
    output: ListFormat = ListOutput.table


def make_kubectl_app() -> typer.Typer:
    """The plugin's commands."""
    app = service_app("kubectl chaski", description=_DESCRIPTION)
    for name, arguments, run in _COMMANDS:
        add_command(app, arguments, run, name=name, description=inspect.getdoc(run) or "", version=False)
    return app


def _status(given: _Shown) -> ExitCode:
    """Show conditions, queues and targets of a route, as the operator reports them. Exit code 1 if it is not ready.

    Example: kubectl chaski status shop/orders
    """
    from chaski_cli.cluster.status import run_status  # noqa: PLC0415 - keeps help fast

    return run_status(given.cluster(), given.route, given.output.value)


def _dead_letters(given: _DeadLetters) -> ExitCode:
    """List the dead letters of a route, newest first.

    Example: kubectl chaski dead-letters shop/orders --since 1h -o wide
    """
    return list_dead_letters(given.location(), given)


def _trace(given: _Trace) -> ExitCode:
    """Show the attempts of a message: of a dead letter by the table, of others by the workers' log (--logs).

    Example: kubectl logs -n shop -l chaski.dev/route=orders --tail=-1 | kubectl chaski trace shop/orders ID --logs -
    """
    tracing = Tracing(given.message_id, given.logs, given.subject, given.text, follow=False, output=given.output)
    return trace_messages(given.location(), tracing)


def _replay(given: _Replay) -> ExitCode:
    """Send dead letters of a route again, in order for each subject, with your AWS credentials.

    A ChaskiReplay does the same in the cluster, with the rights of the route.

    Example: kubectl chaski replay shop/orders --class 5xx --since 1d --dry-run
    """
    return replay_dead_letters(given.location(), given)


def _targets(given: _Shown) -> ExitCode:
    """List the targets of a route, and why and since when they are held.

    Example: kubectl chaski targets shop/orders
    """
    from chaski_cli.cluster.targets import run_list  # noqa: PLC0415 - keeps help fast

    return run_list(given.cluster(), given.route, given.output.value)


def _subjects(given: _Shown) -> ExitCode:
    """List the subjects of a route that wait: for a retry, for a person, or because a person holds them.

    Example: kubectl chaski subjects shop/orders
    """
    return list_subjects(given.location(), given.output)


_COMMANDS: tuple[tuple[str, type[_OfRoute], Callable[..., ExitCode]], ...] = (
    ("status", _Shown, _status),
    ("dead-letters", _DeadLetters, _dead_letters),
    ("trace", _Trace, _trace),
    ("replay", _Replay, _replay),
    ("targets", _Shown, _targets),
    ("subjects", _Shown, _subjects),
)
