"""The time by the `Date` of AWS's responses, where this machine's clock differs from it.

AWS refuses a signature whose time is more than 15 minutes off (RequestTimeTooSkewed; IAM User Guide, "Troubleshoot
signed requests for AWS APIs"), and a wrong clock would store wrong times. So the `Date` header of every
response (RFC 9110 §6.6.1: whole seconds) is compared with the wall clock. Where they agree, the wall clock is used,
because it is finer; where they differ, time is that of the last response plus the monotonic seconds since.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from chaski_core.ports import Clock

TOLERATED_MS = 5_000  # by which the wall clock may differ before it is corrected: a `Date` has whole seconds
AGREED_MS = 2_000  # within which a wall clock that was corrected is trusted again
PRECISE_MS = 2_000  # up to this round trip a response determines the time; a longer one only bounds it
CONFIRMATIONS = (
    2  # contradicting responses in a row before the time changes: one may come from a cache or a broken proxy
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One response: its `Date`, and when this process received it."""

    date_ms: int  # epoch milliseconds, a whole second
    round_trip_ms: float
    wall_ms: int  # this machine's wall clock at the arrival of the response
    monotonic: float  # seconds, at its arrival
    decisive: bool = False  # one is enough: the response refuses a request for its time, or was requested for the time


@dataclass(frozen=True, slots=True)
class Anchor:
    """The time at a monotonic moment."""

    at_ms: float
    monotonic: float  # seconds
    corrected: bool = False  # differs from this machine's wall clock
    contradicted: int = 0  # contradicting responses in a row

    def at(self, monotonic: float) -> float:
        """Epoch milliseconds at another moment."""
        return self.at_ms + (monotonic - self.monotonic) * 1000


def time_at(anchor: Anchor | None, wall_ms: int, monotonic: float) -> int:
    """Epoch milliseconds: the wall clock, unless it differs from the anchor plus the monotonic seconds since."""
    if anchor is None:
        return wall_ms
    expected = anchor.at(monotonic)
    tolerated = AGREED_MS if anchor.corrected else TOLERATED_MS
    return wall_ms if -tolerated <= wall_ms - expected <= tolerated else round(expected)


def learn(anchor: Anchor | None, sample: Sample) -> Anchor:
    """The anchor after one more response.

    The service wrote the `Date` between sending and receiving, so the time of receiving lies between the `Date` and a
    second plus the round trip later.
    """
    earliest, latest = sample.date_ms, sample.date_ms + 1000 + sample.round_trip_ms
    current = time_at(anchor, sample.wall_ms, sample.monotonic)
    is_wall = current == sample.wall_ms
    tolerated = TOLERATED_MS if is_wall else AGREED_MS
    if earliest - tolerated <= current <= latest + tolerated:
        if anchor is not None and sample.round_trip_ms > PRECISE_MS:
            return replace(anchor, contradicted=0)
        return Anchor(
            current if is_wall else min(max(current, earliest), latest), sample.monotonic, corrected=not is_wall
        )
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
    """Implements `chaski_core.ports.Clock`. One for a process: its AWS clients correct the time that it stores.

    Threads may share it: the anchor is one value, replaced as a whole.
    """

    def __init__(self, clock: Clock) -> None:
        """`clock`: this machine's."""
        self._clock = clock
        self.monotonic = (
            clock.monotonic
        )  # seconds of the machine's monotonic clock; read several times for each message
        self._anchor: Anchor | None = None
        self._last_date = ""
        self._warned = False

    def now_ms(self) -> int:
        """Epoch milliseconds, corrected where the wall clock is wrong."""
        wall = self._clock.now_ms()
        if self._anchor is None:
            return wall
        now = time_at(self._anchor, wall, self.monotonic())
        if (now != wall) is not self._warned:
            self._warn(now - wall)
        return now

    def seconds(self) -> float:
        """As `now_ms`, epoch seconds."""
        return self.now_ms() / 1000

    def offset_seconds(self) -> float | None:
        """Seconds that are added to the wall clock now; 0 while it is right; None before the first response."""
        wall = self._clock.now_ms()
        return None if self._anchor is None else (self.now_ms() - wall) / 1000

    def observe(self, date: str, sent: float, *, decisive: bool = False) -> None:
        """Learns from a response that has just been received.

        Args:
            date: its `Date` header; an empty or invalid one is ignored.
            sent: monotonic seconds when its request was sent.
            decisive: it refuses a request for its time, or was requested only for the time.
        """
        if date == self._last_date and not decisive:
            return  # the same second: nothing to learn, and parsing costs as much as a tenth of a call
        parsed = date_ms(date)
        if parsed is None:
            return
        self._last_date = date
        monotonic = self.monotonic()
        round_trip = max(0.0, monotonic - sent) * 1000
        self._anchor = learn(self._anchor, Sample(parsed, round_trip, self._clock.now_ms(), monotonic, decisive))
        self.now_ms()  # logs a change even if the time is not read

    def _warn(self, off_ms: int) -> None:
        """Logs once when a correction starts, and once when it ends."""
        self._warned = off_ms != 0
        if not off_ms:
            _log.info("this machine's clock agrees with AWS's again")
            return
        side = "behind" if off_ms > 0 else "ahead of"
        _log.warning(
            "this machine's clock is %.0f s %s AWS's: signatures and stored times are corrected; check its NTP",
            abs(off_ms) / 1000, side,
        )  # fmt: skip
