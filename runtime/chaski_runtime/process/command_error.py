"""Errors and exit codes of a command: 0 success, 1 failure, 2 wrong input."""

from enum import IntEnum

from chaski_core.errors import ChaskiError


class ExitCode(IntEnum):
    """Exit codes of every `chaski` command. The operator does not retry a Job that ends with WRONG_INPUT."""

    OK = 0
    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130  # 128 + SIGINT, the shells' convention


class CommandError(ChaskiError):
    """A command can't continue. Printed as one sentence and, if there is one, the next step for the user."""

    def __init__(self, message: str, *, next_step: str = "", exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.exit_code = exit_code


def wrong_input(message: str, next_step: str = "") -> CommandError:
    """An error that the user must correct in the command line or in a file."""
    return CommandError(message, next_step=next_step, exit_code=ExitCode.WRONG_INPUT)
