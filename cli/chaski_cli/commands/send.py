"""Flags of `chaski send`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SendOutput(StrEnum):
    """Output format."""

    table = "table"
    json = "json"
    ndjson = "ndjson"


_Output = Annotated[
    SendOutput,
    typer.Option("--output", "-o", help="Output format; `ndjson`: the result of each line, as soon as it is known."),
]
_Messages = Annotated[
    str | None, typer.Argument(help="File of messages, one JSON object per line; - is standard input.")
]
_To = Annotated[str, typer.Option(help="URL of ingest.", envvar="CHASKI_INGEST")]
_Header = Annotated[list[str] | None, typer.Option(help="Header for the target, as 'Name: value'; repeatable.")]
_IdempotencyKey = Annotated[str | None, typer.Option(help="Deduplicates retries within five minutes.")]
_IngestHeader = Annotated[
    list[str] | None,
    typer.Option(help="Header for ingest, as 'Name: value', for example Authorization; repeatable."),
]
_RetryFor = Annotated[float, typer.Option(help="Seconds to retry while ingest is unavailable.", min=0, max=240)]
_Rejected = Annotated[Path | None, typer.Option(help="Write the lines that were not accepted to this file.")]
_SkipUnreadable = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable", help="Also send the lines after an unreadable one, although it may be of their subject."
    ),
]
_Run = Annotated[str | None, typer.Option(help="Resume the run with this name; ids of lines derive from it.")]
_Route = Annotated[
    str, typer.Option(help="Route to send to. Default: the built-in one of `chaski dev`.", metavar="NAMESPACE/NAME")
]
_FromLine = Annotated[int, typer.Option(help="First line of the file to send.", min=1)]
_SkipLines = Annotated[
    str | None, typer.Option(help="Skip lines that were accepted earlier.", metavar="8018-8020,8022")
]


def send(  # noqa: PLR0913 - one parameter per option of the command
    *,
    route: _Route = "default/dev",
    messages: _Messages = None,
    to: _To = "http://127.0.0.1:8080",
    subject: Annotated[str | None, typer.Option(help="Ordering key of the message.")] = None,
    url: Annotated[str | None, typer.Option(help="Target URL of the message.")] = None,
    method: Annotated[str | None, typer.Option(help="HTTP method. Default: POST.")] = None,
    header: _Header = None,
    content: Annotated[str | None, typer.Option(help="Content, sent as text.")] = None,
    content_json: Annotated[str | None, typer.Option("--json", help="Content, sent as JSON.")] = None,
    content_file: Annotated[Path | None, typer.Option(help="File whose bytes are the content.")] = None,
    message_id: Annotated[str | None, typer.Option("--id", help="Id of the message. Default: a new one.")] = None,
    idempotency_key: _IdempotencyKey = None,
    ingest_header: _IngestHeader = None,
    retry_for: _RetryFor = 60.0,
    rejected: _Rejected = None,
    skip_unreadable: _SkipUnreadable = False,
    run: _Run = None,
    from_line: _FromLine = 1,
    skip_lines: _SkipLines = None,
    output: _Output = SendOutput.table,
) -> None:
    """Send one message from flags, or many from a file, in order.

    Lines that ingest can't accept now are retried; every line has an id, so that a retry is not a second message. A file is
    checked first: if a line can't be read, nothing is sent. After Ctrl-C the command to resume is printed.

    [bold]Example:[/] chaski send --subject order-1 --url http://127.0.0.1:9000/ --json '{"hi": 1}'

    [bold]Example:[/] chaski send --route default/first messages.ndjson

    [bold]Example:[/] chaski send --route default/first --output ndjson messages.ndjson > accepted.ndjson
    """
    from chaski_cli.sending import file, lines, message  # noqa: PLC0415 - keeps help fast
    from chaski_cli.sending.client import Destination  # noqa: PLC0415 - keeps help fast

    destination = Destination(to, route, retry_for, message.parse_headers(ingest_header or [], "--ingest-header"))
    as_json = output is not SendOutput.table
    content_bytes = None if content_file is None else message.read_content(content_file)
    flags = message.MessageFlags(subject, url, method, header or [], content, content_json, content_bytes, message_id)
    if messages is None:
        raise typer.Exit(message.send_message(destination, flags, idempotency_key, as_json=as_json))
    if flags.any_given or idempotency_key is not None:
        raise typer.BadParameter("a file of messages and the flags of a single message exclude each other")
    skipped = () if skip_lines is None else lines.parse_ranges(skip_lines)
    selection = lines.Selection(run or file.new_run_id(), from_line, skipped)
    options = file.FileOptions(selection, skip_unreadable, rejected, output.value)
    raise typer.Exit(file.send_file(destination, messages, options))
