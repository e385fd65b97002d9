"""Entry point: `chaski`, or `python -m chaski_cli`."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from chaski_core.errors import ChaskiError, InvalidInputError
from chaski_runtime.process.command_error import CommandError, ExitCode

_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """Runs `chaski`. Expected errors are printed as a sentence, never as a traceback."""
    _main(_chaski)


def kubectl() -> None:
    """Runs the kubectl plugin `kubectl chaski`."""
    _main(_kubectl)


def _main(run: Callable[[list[str]], None]) -> None:
    if sys.stdout is None:
        _replace_closed_streams()
        closed = CommandError("standard output is closed", next_step="redirect it to a file, a pipe or /dev/null")
        sys.exit(_print_error(closed))
    _replace_closed_streams()
    try:
        code = _run(run)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        code = ExitCode.FAILED
    except OSError as error:
        _discard_output()
        code = _print_error(CommandError(_os_error_text(error)))
    sys.exit(code)


def _chaski(arguments: list[str]) -> None:
    from chaski_cli.app import make_app  # noqa: PLC0415 - errors of an import are reported like others

    make_app(arguments)(arguments)


def _kubectl(arguments: list[str]) -> None:
    from chaski_cli.commands.kubectl import make_kubectl_app  # noqa: PLC0415 - as above

    make_kubectl_app()(arguments, prog_name="kubectl chaski")


def _run(run: Callable[[list[str]], None]) -> str | int | None:
    from chaski_cli.app import with_help_option  # noqa: PLC0415 - as above

    try:
        run(with_help_option(sys.argv[1:]))
    except SystemExit as exit_:
        return exit_.code
    except ChaskiError as error:
        return _print_error(error)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("chaski_"):
            raise
        return _print_error(
            CommandError(f"this image does not include {error.name}", next_step="run the command from a checkout")
        )
    return ExitCode.OK


def _replace_closed_streams() -> None:
    """Replaces closed standard streams by /dev/null: the next opened file would get their descriptors."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends


def _discard_output() -> None:
    """Drops buffered output that can't be written: the interpreter would try again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _os_error_text(error: OSError) -> str:
    if error.filename is None and error.errno in _OUTPUT_ERRORS:
        return f"can't write to standard output: {error.strerror}"
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


def _print_error(error: ChaskiError) -> ExitCode:
    from chaski_cli.output import printable  # noqa: PLC0415 - keeps help fast

    lines = [printable(line) for line in f"chaski: {error}".splitlines()]
    if isinstance(error, CommandError) and error.next_step:
        lines.append(f"next: {printable(error.next_step)}")
    sys.stderr.write("\n".join(lines) + "\n")
    if isinstance(error, CommandError):
        return error.exit_code
    return ExitCode.WRONG_INPUT if isinstance(error, InvalidInputError) else ExitCode.FAILED


if __name__ == "__main__":
    main()
