"""A search for dead letters, between the form that people fill in and the filter that stores understand. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.moments import parse_time

WINDOWS = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "all": "all"}
DEFAULT_WINDOW = "24h"
MAX_FIELD_CHARACTERS = 1_024


class WrongSearchError(Exception):
    """What can't be searched for, in a sentence."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was asked for, as it stands in the address."""

    window: str = DEFAULT_WINDOW
    since: str = ""
    until: str = ""
    route: str = ""
    subject: str = ""
    target: str = ""
    error_class: str = ""
    text: str = ""
    after: str = ""  # `<ms>.<n>`: go on after n letters of that millisecond

    def filter(self, now_ms: int) -> DeadLetterFilter:
        """The same for a store. Raises WrongSearchError."""
        since = _moment("from", self.since, now_ms)
        if since is None and not self.until and self.window != "all":
            since = parse_time(self.window, now_ms)
        if self.after:
            since = max(since or 0, self.begin)
        return DeadLetterFilter(
            route=self.route or None,
            since=since,
            until=_moment("to", self.until, now_ms),
            subject=self.subject or None,
            target=self.target or None,
            error_class=self.error_class or None,
            text=self.text or None,
        )

    @property
    def begin(self) -> int:
        """Epoch milliseconds at which the next page begins."""
        return int(self.after.partition(".")[0])

    @property
    def skipped(self) -> int:
        """Letters of that millisecond that earlier pages have shown."""
        return int(self.after.partition(".")[2]) if self.after else 0

    def next_page(self, shown: list[DeadLetter]) -> "Search":
        """The search that goes on after these."""
        last = shown[-1].dead_lettered_at
        same = sum(letter.dead_lettered_at == last for letter in shown)
        if self.after and last == self.begin:
            same += self.skipped
        return replace(self, after=f"{last}.{same}")

    def query(self) -> str:
        """As the address says it, what is empty left out."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return urlencode({_PARAMETERS.get(name, name): value for name, value in named.items() if value})

    def given(self) -> dict[str, str]:
        """The same search by the names that `chaski dead-letters` and ChaskiReplays give its parts; the route is none."""
        since = self.since or ("" if self.until or self.window == "all" else self.window)
        parts = {"since": since, "until": self.until, "subject": self.subject, "target": self.target}
        parts |= {"class": self.error_class, "text": self.text}
        return {name: value for name, value in parts.items() if value}

    def flags(self) -> list[str]:
        """The same search as flags of `chaski dead-letters`."""
        return [word for name, value in self.given().items() for word in (f"--{name}", value)]


_PARAMETERS = {"error_class": "class"}


def read_search(parameters: Mapping[str, str]) -> Search:
    """The search that an address asks for. Raises WrongSearchError."""
    values = {
        field.name: parameters.get(_PARAMETERS.get(field.name, field.name), "").strip() for field in fields(Search)
    }
    if any(len(value) > MAX_FIELD_CHARACTERS for value in values.values()):
        raise WrongSearchError(f"a field may have {MAX_FIELD_CHARACTERS} characters")
    values["window"] = values["window"] or DEFAULT_WINDOW
    if values["window"] not in WINDOWS:
        raise WrongSearchError(f"there is no such window; there are {', '.join(WINDOWS)}")
    at, _, number = values["after"].partition(".")
    if values["after"] and not (at.isdecimal() and number.isdecimal() and len(values["after"]) < 32):
        raise WrongSearchError("the page to go on from is not one that was given")
    return Search(**values)


def _moment(name: str, said: str, now_ms: int) -> int | None:
    if not said:
        return None
    try:
        return parse_time(said, now_ms)
    except ValueError as error:
        raise WrongSearchError(f"{name}: {error}") from None
