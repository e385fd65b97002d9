"""Entry point: `chaski`, or `python -m chaski_cli`."""

import errno
import os
import sys
from pathlib import Path

from chaski_cli.errors import CommandError, Exit
from chaski_core.errors import ChaskiError, InvalidInputError

_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """Runs the command that the arguments name; an error for people is a sentence, never a traceback."""
    if sys.stdout is None:
        _stand_in()
        closed = CommandError("standard output is closed", next_step="redirect it to a file, a pipe or /dev/null")
        sys.exit(_tell(closed))
    _stand_in()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        code = Exit.FAILED
    except OSError as error:
        _forget_output()
        code = _tell(CommandError(_system_sentence(error)))
    sys.exit(code)


def _run() -> str | int | None:
    from chaski_cli.app import app  # noqa: PLC0415 - a fault of an import is then reported like any other

    try:
        app()
    except SystemExit as ended:
        return ended.code
    except ChaskiError as error:
        return _tell(error)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("chaski_"):
            raise
        return _tell(
            CommandError(f"{error.name} is left out of this image", next_step="run the command from a checkout")
        )
    return Exit.OK


def _stand_in() -> None:
    """Puts /dev/null where a standard stream is closed, or the next file that is opened would get its descriptor."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as above
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as above


def _forget_output() -> None:
    """What is still buffered can't be written; the interpreter would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_sentence(error: OSError) -> str:
    if error.filename is None and error.errno in _OF_OUTPUT:
        return f"can't write to standard output: {error.strerror}"
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


def _tell(error: ChaskiError) -> Exit:
    from chaski_cli.output import printable  # noqa: PLC0415 - keeps help quick

    lines = [printable(line) for line in f"chaski: {error}".splitlines()]
    if isinstance(error, CommandError) and error.next_step:
        lines.append(f"next: {printable(error.next_step)}")
    sys.stderr.write("\n".join(lines) + "\n")
    if isinstance(error, CommandError):
        return error.exit_code
    return Exit.WRONG_INPUT if isinstance(error, InvalidInputError) else Exit.FAILED


if __name__ == "__main__":
    main()
