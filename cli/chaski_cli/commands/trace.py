"""Flags of `chaski trace` and `chaski ledger`: what became of messages."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from chaski_cli.options import (
    DEFAULT_DATA,
    Data,
    ListFormat,
    ListOutput,
    Output,
    OutputFormat,
    ResolvedFile,
    RouteName,
    location_of,
)
from chaski_runtime.process.command_error import ExitCode

if TYPE_CHECKING:
    from chaski_replay.backends import BackendLocation

LogFile = Annotated[str | None, typer.Option(help="JSON log lines of workers; - is standard input.", metavar="FILE")]
SubjectOption = Annotated[
    str | None, typer.Option(help="Instead of ID: all messages of this subject (exact match).", metavar="SUBJECT")
]
TextOption = Annotated[
    str | None, typer.Option(help="Instead of ID: messages that contain this text (case-insensitive).", metavar="TEXT")
]
_Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Print further attempts as they happen, until the message has ended.")
]


@dataclass(frozen=True, slots=True)
class Tracing:
    """Which messages are traced, and how they are shown."""

    message_id: str | None
    logs: str | None
    subject: str | None
    text: str | None
    follow: bool
    output: ListOutput


def trace_messages(location: "BackendLocation", given: Tracing) -> ExitCode:
    """Traces them."""
    from chaski_cli.trace.follow import run_follow  # noqa: PLC0415 - keeps help fast
    from chaski_cli.trace.search import MessageQuery, run_search, run_trace  # noqa: PLC0415 - keeps help fast

    by_id = given.subject is None and given.text is None
    if (given.message_id is not None) is not by_id:
        raise typer.BadParameter("give either ID, or --subject, --text or both")
    if given.follow and (given.message_id is None or location.on_aws or given.logs is not None):
        raise typer.BadParameter("--follow requires ID and a data folder; on AWS follow the workers' logs")
    if given.message_id is None:
        return run_search(location, given.logs, MessageQuery(given.subject, given.text), given.output.value)
    if given.follow:
        return run_follow(location, given.message_id, given.output.value)
    return run_trace(location, given.logs, given.message_id, given.output.value)


def trace(  # noqa: PLR0913 - one parameter per option of the command
    message_id: Annotated[
        str | None, typer.Argument(help="Id of the message, from ingest's response.", metavar="ID")
    ] = None,
    *,
    data: Data = DEFAULT_DATA,
    resolved: ResolvedFile = None,
    route: RouteName = None,
    logs: LogFile = None,
    subject: SubjectOption = None,
    text: TextOption = None,
    follow: _Follow = False,
    output: ListFormat = ListOutput.table,
) -> None:
    """Show every attempt of a message and its outcome. Finds messages by id, subject or text, the newest first.

    On AWS attempts are recorded in the workers' logs only; dead letters are read from the route's table.

    [bold]Example:[/] chaski trace 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99

    [bold]Example:[/] chaski trace 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99 --follow

    [bold]Example:[/] chaski trace --text jane@example.com
    """
    given = Tracing(message_id, logs, subject, text, follow, output)
    raise typer.Exit(trace_messages(location_of(data, resolved, route), given))


def ledger(  # noqa: PLR0913 - one parameter per option of the command
    *,
    data: Data = DEFAULT_DATA,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="URL of a /metrics page; give those of every ingest and worker of the route.", metavar="URL"),
    ] = None,
    resolved: ResolvedFile = None,
    route: RouteName = None,
    accepted: Annotated[
        list[str] | None,
        typer.Option(help="Ingest's responses as JSON lines, or one id per line; - is standard input.", metavar="FILE"),
    ] = None,
    logs: Annotated[
        list[str] | None,
        typer.Option(
            help="With --accepted: the workers' JSON log lines, or ids that a target received.", metavar="FILE"
        ),
    ] = None,
    output: OutputFormat = Output.table,
) -> None:
    """Check that every accepted message was delivered, is a dead letter, was discarded, or is pending.

    On a data folder the result is exact, also after crashes. On AWS messages are matched by id with --accepted and --logs,
    exact after crashes too; or counted from the /metrics of all processes, where a killed process's counts are lost. Exit
    code 1 if a message is unaccounted for.

    [bold]Example:[/] chaski ledger

    [bold]Example:[/] chaski ledger --resolved resolved.yaml --accepted answers.ndjson --logs worker.log

    [bold]Example:[/] chaski ledger --resolved resolved.yaml --metrics http://ingest:9090/metrics --metrics http://worker:9090/metrics
    """
    from chaski_cli.ledger.accounts import run_folder, run_metrics  # noqa: PLC0415 - keeps help fast
    from chaski_cli.ledger.by_ids import run_ids  # noqa: PLC0415 - keeps help fast

    location = location_of(data, resolved, route)
    as_json = output is Output.json
    if (logs and not accepted) or (accepted and (not location.on_aws or metrics)):
        raise typer.BadParameter("--accepted requires --resolved and --logs, and excludes --metrics")
    if accepted:
        raise typer.Exit(run_ids(location, accepted, logs or (), as_json=as_json))
    if location.on_aws and not metrics:
        raise typer.BadParameter(
            "with --resolved give --accepted and --logs, or --metrics with the /metrics URL of every ingest and worker"
        )
    if location.route is not None and not location.on_aws:
        raise typer.BadParameter("--route requires --resolved: the messages of a data folder are counted together")
    code = run_metrics(metrics, location, as_json=as_json) if metrics else run_folder(location, as_json=as_json)
    raise typer.Exit(code)
