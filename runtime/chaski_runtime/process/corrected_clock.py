"""The time by a trusted service's `Date`, where this machine's clock differs from it.

AWS refuses a signature whose time is more than 15 minutes off (RequestTimeTooSkewed; IAM User Guide, "Troubleshoot
signed requests for AWS APIs"), and a wrong clock would put wrong times into what is stored. So every answer's `Date`
header (RFC 9110 §6.6.1: whole seconds) is compared with the wall clock. Where they agree, the wall clock is used, as
it is the finer one; where they do not, time is the service's at the last answer and the monotonic seconds since.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from chaski_core.ports import Clock

TOLERATED_MS = 5_000  # by which the wall clock may differ before it is corrected: a `Date` has whole seconds
AGREED_MS = 2_000  # within which a wall clock that was corrected is trusted again
PRECISE_MS = 2_000  # round trips up to this say what time it is; longer ones only what it can't be
CONFIRMATIONS = 2  # answers in a row that must contradict what was held: one may come from a cache or a broken proxy
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: its `Date`, and when this process saw it."""

    date_ms: int  # epoch milliseconds, a whole second
    round_trip_ms: float
    wall_ms: int  # this machine's wall clock when the answer was there
    monotonic: float  # seconds, at the same moment
    decisive: bool = False  # it refuses a request for its time, or was asked for the time: one is enough


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the time was at a monotonic moment."""

    at_ms: float
    monotonic: float  # seconds
    corrected: bool = False  # it is not this machine's wall clock
    contradicted: int = 0  # answers in a row that say otherwise

    def at(self, monotonic: float) -> float:
        """Epoch milliseconds at another moment."""
        return self.at_ms + (monotonic - self.monotonic) * 1000


def time_at(anchor: Anchor | None, wall_ms: int, monotonic: float) -> int:
    """Epoch milliseconds: the wall clock, unless it is not where the anchor and the monotonic clock expect it."""
    if anchor is None:
        return wall_ms
    expected = anchor.at(monotonic)
    tolerated = AGREED_MS if anchor.corrected else TOLERATED_MS
    return wall_ms if -tolerated <= wall_ms - expected <= tolerated else round(expected)


def learn(anchor: Anchor | None, sample: Sample) -> Anchor:
    """What is held after one more answer.

    The service wrote the `Date` between sending and receiving, so the time at receiving lies between the `Date` and a
    second plus the round trip later.
    """
    earliest, latest = sample.date_ms, sample.date_ms + 1000 + sample.round_trip_ms
    held = time_at(anchor, sample.wall_ms, sample.monotonic)
    is_wall = held == sample.wall_ms
    tolerated = TOLERATED_MS if is_wall else AGREED_MS
    if earliest - tolerated <= held <= latest + tolerated:
        if anchor is not None and sample.round_trip_ms > PRECISE_MS:
            return replace(anchor, contradicted=0)
        return Anchor(held if is_wall else min(max(held, earliest), latest), sample.monotonic, corrected=not is_wall)
    if anchor is not None and not sample.decisive and anchor.contradicted + 1 < CONFIRMATIONS:
        return replace(anchor, contradicted=anchor.contradicted + 1)
    if earliest - AGREED_MS <= sample.wall_ms <= latest + AGREED_MS:
        return Anchor(sample.wall_ms, sample.monotonic)
    return Anchor((earliest + latest) / 2, sample.monotonic, corrected=True)


def date_ms(header: str) -> int | None:
    """A `Date` header as epoch milliseconds; None where it is not a date."""
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)


class CorrectedClock:
    """Implements `chaski_core.ports.Clock`. One for a process: what its AWS clients learn is what it stores by.

    Threads may share it: what is held is one value, replaced as a whole.
    """

    def __init__(self, clock: Clock) -> None:
        """`clock`: this machine's."""
        self._clock = clock
        self._anchor: Anchor | None = None
        self._last_date = ""
        self._warned = False

    def now_ms(self) -> int:
        """Epoch milliseconds, corrected where the wall clock is off."""
        wall = self._clock.now_ms()
        if self._anchor is None:
            return wall
        now = time_at(self._anchor, wall, self._clock.monotonic())
        if (now != wall) is not self._warned:
            self._warn(now - wall)
        return now

    def seconds(self) -> float:
        """As `now_ms`, epoch seconds."""
        return self.now_ms() / 1000

    def monotonic(self) -> float:
        """As of the machine's clock."""
        return self._clock.monotonic()

    def offset_seconds(self) -> float | None:
        """Seconds that are added to the wall clock now; 0 while it is right; None before the first answer."""
        wall = self._clock.now_ms()
        return None if self._anchor is None else (self.now_ms() - wall) / 1000

    def observe(self, date: str, sent: float, *, decisive: bool = False) -> None:
        """Learns from an answer that has just been received.

        Args:
            date: its `Date` header; one that is not a date, or none, says nothing.
            sent: monotonic seconds when its request was sent.
            decisive: it refuses a request for its time, or was asked for nothing but the time.
        """
        if date == self._last_date and not decisive:
            return  # the same second: nothing new, and parsing costs as much as a tenth of a call
        parsed = date_ms(date)
        if parsed is None:
            return
        self._last_date = date
        monotonic = self._clock.monotonic()
        round_trip = max(0.0, monotonic - sent) * 1000
        self._anchor = learn(self._anchor, Sample(parsed, round_trip, self._clock.now_ms(), monotonic, decisive))
        self.now_ms()  # logs a change where nothing else asks for the time

    def _warn(self, off_ms: int) -> None:
        """Logs once when a correction begins, and once when it ends."""
        self._warned = off_ms != 0
        if not off_ms:
            _log.info("this machine's clock agrees with AWS's again")
            return
        side = "behind" if off_ms > 0 else "ahead of"
        _log.warning(
            "this machine's clock is %.0f s %s AWS's: signatures and stored times are corrected; check its NTP",
            abs(off_ms) / 1000, side,
        )  # fmt: skip
