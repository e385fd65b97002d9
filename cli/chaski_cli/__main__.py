"""Entry point: `chaski`, or `python -m chaski_cli`."""

import sys

from chaski_cli.errors import CommandError, Exit
from chaski_core.errors import ChaskiError, InvalidInputError


def main() -> None:
    """Runs the command that the arguments name; an error for people is a sentence, never a traceback."""
    from chaski_cli.app import app  # noqa: PLC0415 - a fault of an import is then reported like any other

    try:
        app()
    except ChaskiError as error:
        sys.exit(_tell(error))
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("chaski_"):
            raise
        left_out = CommandError(f"{error.name} is left out of this image", next_step="run the command from a checkout")
        sys.exit(_tell(left_out))


def _tell(error: ChaskiError) -> Exit:
    from chaski_cli.console import printable  # noqa: PLC0415 - keeps help quick

    lines = [printable(line) for line in f"chaski: {error}".splitlines()]
    if isinstance(error, CommandError) and error.next_step:
        lines.append(f"next: {printable(error.next_step)}")
    sys.stderr.write("\n".join(lines) + "\n")
    if isinstance(error, CommandError):
        return error.exit_code
    return Exit.WRONG_INPUT if isinstance(error, InvalidInputError) else Exit.FAILED


if __name__ == "__main__":
    main()
