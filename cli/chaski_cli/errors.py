"""How a command ends: 0 it worked, 1 it did not come out, 2 what was given is wrong."""

from enum import IntEnum

from chaski_core.errors import ChaskiError


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1  # the input was fine, but it did not come out
    WRONG_INPUT = 2
    INTERRUPTED = 130  # 128 + SIGINT, as shells count


class CommandError(ChaskiError):
    """A command can't go on. Printed as one sentence and, where there is one, the step to take next."""

    def __init__(self, message: str, *, next_step: str = "", exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.exit_code = exit_code


def wrong_input(message: str, next_step: str = "") -> CommandError:
    """The error for something that the caller must write differently."""
    return CommandError(message, next_step=next_step, exit_code=Exit.WRONG_INPUT)
