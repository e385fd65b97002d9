"""The command line of `chaski dead-letters replay`: built for the operator's Job and for the command that resumes a run."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from chaski_core.timestamps import timestamp


def job_command(route: str) -> list[str]:
    """The command of a Pod; `route` is the file of the resolved route."""
    return ["chaski", "dead-letters", "replay", "--resolved", route]


@dataclass(frozen=True, slots=True)
class ReplayArguments:
    """What identifies a run: the same arguments, given again, resume it."""

    run: str
    since: int | None = None  # epoch milliseconds
    until: int | None = None
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None
    text: str | None = None
    to_url: str | None = None
    rate: float | None = None  # messages per second
    again: bool = False
    dry_run: bool = False
    ids: tuple[str, ...] = ()

    def job_arguments(self, progress_port: int, report: str) -> list[str]:
        """What follows `job_command` in a Pod; `report` is the file to write. No value or id can be taken for a flag."""
        flags = ["--yes", "--output", "json", "--progress-port", str(progress_port), "--report", report]
        flags += ["--run", self.run, *(f"{name}={value}" for name, value in self._values())]
        flags += [name for name, is_set in (("--again", self.again), ("--dry-run", self.dry_run)) if is_set]
        return [*flags, "--", *self.ids] if self.ids else flags

    def resume_command(self, command: Sequence[str]) -> str:
        """The shell command that resumes the run; `command`: that of a replay, with its location."""
        words = [*command, *self.ids, "--run", self.run]
        for name, value in self._values():
            words += [name, value]
        return shlex.join([*words, *(["--again"] if self.again else [])])

    def _values(self) -> list[tuple[str, str]]:
        values = {
            "--since": None if self.since is None else timestamp(self.since),
            "--until": None if self.until is None else timestamp(self.until),
            "--subject": self.subject,
            "--target": self.target,
            "--class": self.error_class,
            "--text": self.text,
            "--to-url": self.to_url,
            "--rate": self.rate,
        }
        return [(name, str(value)) for name, value in values.items() if value is not None]
