"""Ends attempts that take too long, by the time in which this process ran: what it stood still is not the target's silence.

All of a route's get the same time, so they run out in the order in which they began, and one timer does for all:
`asyncio.timeout` sets one for each, which costs several times as much.
"""

import asyncio
from types import TracebackType

_LATE_SECONDS = 0.1
_TICKS = 20  # in the time of an attempt: so finely is noticed for how long the process stood still
_LEAST_TICK_SECONDS = 0.1
# A timer that is later than this was held up by a pause; one that is less late, by a busy loop, which must not make
# attempts longer: they would keep their slots the longer the busier the worker is.
_PAUSE_SHARE, _LONGEST_LAG_SECONDS = 0.25, 1.0
_GRACE_SECONDS = 0.1
_RESOLUTION_SECONDS = 0.001  # of uvloop's timers, which may come early by half of it


class Deadline:
    """A `with` block that raises TimeoutError when its time is over. Made by `Deadlines.begin`, entered at once."""

    __slots__ = ("_among", "_before", "_rung", "_task", "at")

    def __init__(self, among: "dict[Deadline, None]", at: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an attempt is made in a task
        self.at = at  # loop time
        self._among = among
        self._task = task
        self._before = task.cancelling()
        self._rung = False

    def __enter__(self) -> None:
        self._among[self] = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        del self._among[self]
        # As asyncio.timeout does: whoever else cancelled the task meanwhile gets the cancellation.
        if self._rung and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def ring(self) -> None:
        """The time is over."""
        if not self._rung:
            self._rung = True
            self._task.cancel()


class Deadlines:
    """Makes deadlines that are all equally far away. Needs a running loop once one is begun."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[Deadline, None] = {}  # in the order in which they run out
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # loop time of the timer. Not asked of its handle: uvloop's has none where it is due at once
        self._waited = False
        self._tick = max(_LEAST_TICK_SECONDS, seconds / _TICKS)
        self._pause = min(_LONGEST_LAG_SECONDS, seconds * _PAUSE_SHARE)

    def begin(self) -> Deadline:
        """A deadline from now on."""
        loop = asyncio.get_running_loop()
        at = loop.time() + self._seconds
        if self._timer is None:
            self._set(loop, min(at, loop.time() + self._tick))
        return Deadline(self._running, at)

    def close(self) -> None:
        """Ends the timer; what is under way is not ended any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - self._due
        if late > self._pause:
            # This process was paused: requests may not have been sent yet.
            for deadline in self._running:
                deadline.at += late
        if late > _LATE_SECONDS and not self._waited:
            # Answers that came in time may lie there unread, and loops look at timers first.
            self._waited = True
            self._set(loop, now + _GRACE_SECONDS)
            return
        self._timer, self._waited = None, False
        for deadline in self._running:
            if deadline.at > now + _RESOLUTION_SECONDS:
                self._set(loop, min(deadline.at, now + self._tick))
                return
            deadline.ring()

    def _set(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self._due = at
        self._timer = loop.call_at(at, self._look)
