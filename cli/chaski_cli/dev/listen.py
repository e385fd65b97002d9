"""Runs `chaski listen`."""

import asyncio
from dataclasses import dataclass

from chaski_cli.dev.target import Request, start_target
from chaski_cli.output import emit_result, printable, stderr, stdout
from chaski_core.timestamps import parse_duration
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input
from chaski_runtime.process.lifecycle import stop_on_signals


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """The command's flags."""

    host: str
    port: int  # 0: a free one
    status: int
    delay: str  # as in `parse_duration`
    as_json: bool


def run_listen(options: ListenOptions) -> ExitCode:
    """Responds until SIGTERM or SIGINT.

    Raises:
        CommandError: the delay is invalid, or the port can't be used.
    """
    try:
        delay = parse_duration(options.delay)
    except ValueError as error:
        raise wrong_input(f"--delay: {error}") from error
    return asyncio.run(_serve(options, delay))


async def _serve(options: ListenOptions, delay_seconds: float) -> ExitCode:
    stop = stop_on_signals()
    show = _print_json if options.as_json else _print_line
    try:
        server = await start_target(
            options.host, options.port, status=options.status, delay_seconds=delay_seconds, on_request=show
        )
    except OSError as error:
        raise CommandError(
            f"can't listen on {options.host}:{options.port}: {error.strerror or error}",
            next_step="choose another port with --port, or --port 0 for a free one",
        ) from error
    stderr().print(f"listening on {server.url}/, responding with {options.status}; stop with Ctrl-C", soft_wrap=True)
    try:
        await stop.wait()
    finally:
        await server.close()
    return ExitCode.OK


def _print_line(request: Request) -> None:
    stdout().print(printable(request.as_line()), soft_wrap=True, markup=False)


def _print_json(request: Request) -> None:
    emit_result(request.as_json())
