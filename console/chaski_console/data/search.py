"""A search for dead letters: parsed from the query string, and turned into a store filter or command-line flags."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.timestamps import parse_time

WINDOWS = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "all": "all time"}
DEFAULT_WINDOW = "24h"
MAX_FIELD_CHARACTERS = 1_024


class InvalidSearchError(Exception):
    """The search is invalid; the message is a sentence for the page."""


@dataclass(frozen=True, slots=True)
class Search:
    """The fields of the search form, as in the query string."""

    window: str = DEFAULT_WINDOW
    since: str = ""
    until: str = ""
    route: str = ""
    subject: str = ""
    target: str = ""
    error_class: str = ""
    text: str = ""
    after: str = ""  # `<ms>.<n>`: continue after n dead letters of that millisecond

    def filter(self, now_ms: int) -> DeadLetterFilter:
        """The search as a store filter. Raises InvalidSearchError."""
        since = _parse_time("From", self.since, now_ms)
        if since is None and not self.until and self.window != "all":
            since = parse_time(self.window, now_ms)
        if self.after:
            since = max(since or 0, self.page_start_ms)
        return DeadLetterFilter(
            route=self.route or None,
            since=since,
            until=_parse_time("To", self.until, now_ms),
            subject=self.subject or None,
            target=self.target or None,
            error_class=self.error_class or None,
            text=self.text or None,
        )

    @property
    def page_start_ms(self) -> int:
        """Epoch milliseconds at which this page begins; only with `after`."""
        return int(self.after.partition(".")[0])

    @property
    def skipped(self) -> int:
        """Number of dead letters of that millisecond on earlier pages."""
        return int(self.after.partition(".")[2]) if self.after else 0

    @property
    def period(self) -> str:
        """The searched period in words; "" for all time."""
        if self.since or self.until:
            return "in the chosen period"
        return "" if self.window == "all" else f"in the {WINDOWS[self.window]}"

    def next_page(self, shown: list[DeadLetter]) -> "Search":
        """The search that continues after these dead letters."""
        last = shown[-1].dead_lettered_at
        same = sum(dead_letter.dead_lettered_at == last for dead_letter in shown)
        if self.after and last == self.page_start_ms:
            same += self.skipped
        return replace(self, after=f"{last}.{same}")

    def all_time(self) -> "Search":
        """The same search without a limit of time, from its first page."""
        return replace(self, window="all", since="", until="", after="")

    def query(self) -> str:
        """The search as a query string, without empty fields."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return urlencode({_PARAMETERS.get(name, name): value for name, value in named.items() if value})

    def filter_fields(self) -> dict[str, str]:
        """The search, except for its route, by the field names of `chaski dead-letters` and ChaskiReplay."""
        since = self.since or ("" if self.until or self.window == "all" else self.window)
        parts = {"since": since, "until": self.until, "subject": self.subject, "target": self.target}
        parts |= {"class": self.error_class, "text": self.text}
        return {name: value for name, value in parts.items() if value}

    def flags(self) -> list[str]:
        """The search as flags of `chaski dead-letters replay`."""
        wanted = ({"route": self.route} if self.route else {}) | self.filter_fields()
        return [word for name, value in wanted.items() for word in (f"--{name}", value)] or ["--all"]


_PARAMETERS = {"error_class": "class"}


def read_search(parameters: Mapping[str, str]) -> Search:
    """Parses a query string. Raises InvalidSearchError."""
    values = {
        field.name: parameters.get(_PARAMETERS.get(field.name, field.name), "").strip() for field in fields(Search)
    }
    if any(len(value) > MAX_FIELD_CHARACTERS for value in values.values()):
        raise InvalidSearchError(f"A field may have at most {MAX_FIELD_CHARACTERS} characters.")
    values["window"] = values["window"] or DEFAULT_WINDOW
    if values["window"] not in WINDOWS:
        raise InvalidSearchError(f"The window must be one of {', '.join(WINDOWS)}.")
    at, _, number = values["after"].partition(".")
    if values["after"] and not (at.isdecimal() and number.isdecimal() and len(values["after"]) < 32):
        raise InvalidSearchError("The link to the next page is invalid. Search again.")
    return Search(**values)


def _parse_time(label: str, value: str, now_ms: int) -> int | None:
    if not value:
        return None
    try:
        return parse_time(value, now_ms)
    except ValueError as error:
        raise InvalidSearchError(f"{label}: {error}") from None
