"""The command that sends messages."""

from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import Output

_Messages = Annotated[
    str | None, typer.Argument(help="File of messages, one JSON object a line; - reads standard input.")
]
_To = Annotated[str, typer.Option(help="URL of ingest.", envvar="CHASKI_INGEST")]
_Header = Annotated[list[str] | None, typer.Option(help="'Name: value' for the target; repeatable.")]
_IdempotencyKey = Annotated[str | None, typer.Option(help="Makes a repetition within five minutes one message.")]
_IngestHeader = Annotated[
    list[str] | None, typer.Option(help="'Name: value' for ingest, such as Authorization; repeatable.")
]
_RetryFor = Annotated[float, typer.Option(help="Seconds to go on while ingest is unavailable.", min=0, max=240)]
_Rejected = Annotated[Path | None, typer.Option(help="Write the lines that were not accepted here.")]
_SkipUnreadable = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable", help="Send the lines after one that can't be read, too; it may be of their subject."
    ),
]
_Run = Annotated[str | None, typer.Option(help="Continue the run of this name: ids are made of it.")]
_FromLine = Annotated[int, typer.Option(help="Send a file from this line on.", min=1)]
_SkipLines = Annotated[
    str | None, typer.Option(help="Leave out lines that were accepted before.", metavar="8018-8020,8022")
]


def send(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    route: Annotated[str, typer.Option(help="Route to send to, as namespace/name.")],
    messages: _Messages = None,
    to: _To = "http://127.0.0.1:8080",
    subject: Annotated[str | None, typer.Option(help="Ordering key.")] = None,
    url: Annotated[str | None, typer.Option(help="Target of the message.")] = None,
    method: Annotated[str | None, typer.Option(help="HTTP method; POST unless given.")] = None,
    header: _Header = None,
    content: Annotated[str | None, typer.Option(help="Body, sent as this text.")] = None,
    content_json: Annotated[str | None, typer.Option("--json", help="Body, sent as JSON.")] = None,
    content_file: Annotated[Path | None, typer.Option(help="Body, sent as this file's bytes.")] = None,
    message_id: Annotated[str | None, typer.Option("--id", help="Id of the message; else one is made.")] = None,
    idempotency_key: _IdempotencyKey = None,
    ingest_header: _IngestHeader = None,
    retry_for: _RetryFor = 60.0,
    rejected: _Rejected = None,
    skip_unreadable: _SkipUnreadable = False,
    run: _Run = None,
    from_line: _FromLine = 1,
    skip_lines: _SkipLines = None,
    output: Annotated[Output, typer.Option(help="For people or for machines.")] = Output.table,
) -> None:
    """Send one message from flags, or many from a file, in order.

    Lines that can't be accepted now are sent again; each carries an id, so that none becomes two messages. A file is
    checked first, and nothing is sent where a line can't be read. Stopped by Ctrl-C, it prints how to continue.

    [bold]Example:[/] chaski send --route default/first --subject order-1 --url http://127.0.0.1:9000/ --json '{"hi": 1}'

    [bold]Example:[/] chaski send --route default/first messages.ndjson
    """
    from chaski_cli.sending import command, resuming  # noqa: PLC0415 - keeps help quick
    from chaski_cli.sending.message import Flags, headers_of  # noqa: PLC0415 - as above

    destination = command.Destination(to, route, retry_for, headers_of(ingest_header or [], "--ingest-header"))
    as_json = output is Output.json
    bytes_given = None if content_file is None else command.read_content(content_file)
    flags = Flags(subject, url, method, header or [], content, content_json, bytes_given, message_id)
    if messages is None:
        raise typer.Exit(command.send_one(destination, flags, idempotency_key, as_json=as_json))
    if flags.any_given or idempotency_key is not None:
        raise typer.BadParameter("a file of messages and the flags of one message exclude each other")
    skipped = () if skip_lines is None else resuming.parse_ranges(skip_lines)
    selection = resuming.Selection(run or command.new_run(), from_line, skipped)
    lines = command.Lines(selection, skip_unreadable, rejected)
    raise typer.Exit(command.send_file(destination, messages, lines, as_json=as_json))
