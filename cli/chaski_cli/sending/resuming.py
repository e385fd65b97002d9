"""Which lines of a file are sent, and with which a run that has ended early is continued. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from chaski_cli.errors import wrong_input

Ranges = tuple[tuple[int, int], ...]  # first and last number of each, both included, ascending

_RUN = re.compile(r"[A-Za-z0-9._-]{1,40}\Z")  # with a line's number behind it, it is a message's id
_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?\Z")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines, by their numbers from 1."""

    run: str  # a line without an id gets `<run>-<number>`
    first: int = 1
    skipped: Ranges = ()

    def __post_init__(self) -> None:
        if not _RUN.match(self.run):
            raise wrong_input(f'--run "{self.run}": 1 to 40 letters, digits, dots, underscores, hyphens')

    def keeps(self, number: int) -> bool:
        """Whether the line is sent."""
        return number >= self.first and not any(low <= number <= high for low, high in self.skipped)

    def after(self, request: Sequence[int], left: Collection[int]) -> "Selection":
        """What is left when all lines before a request are settled, and those of the request but for `left`."""
        if not request:
            return self
        first = min(left) if left else request[-1] + 1
        settled = _ranges(number for number in request if number > first and number not in left)
        return Selection(
            self.run, first, tuple(sorted((*settled, *(each for each in self.skipped if each[1] > first))))
        )

    @property
    def flags(self) -> str:
        """The same on the command line."""
        skipped = ",".join(f"{low}-{high}" if high > low else str(low) for low, high in self.skipped)
        return f"--run {self.run} --from-line {self.first}" + (f" --skip-lines {skipped}" if skipped else "")


def parse_ranges(text: str) -> Ranges:
    """Ranges out of `8018-8020,8022`.

    Raises:
        CommandError: the text holds something else.
    """
    ranges = []
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise wrong_input(f'--skip-lines: "{part}" is not a range of lines', "write it like 8018-8020,8022")
        ranges.append((int(match[1]), int(match[2] or match[1])))
    return tuple(sorted(ranges))


def _ranges(numbers: Iterable[int]) -> Ranges:
    """Ascending numbers as ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
