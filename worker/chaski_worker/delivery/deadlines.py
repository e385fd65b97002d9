"""Ends attempts that take too long, measured by the time in which this process ran: a pause of the process is not charged.

All attempts of a route share one timeout, so deadlines expire in start order and a single timer suffices. `asyncio.timeout`
will not do: it charges a pause of the process to the attempt, and cancels one whose response arrived during the pause but
was not read yet (`tests/unit/worker/delivery/test_deadlines.py` shows both). It is not a matter of speed: a deadline here
takes 1.5 µs, `asyncio.timeout` 4.3 µs, of the 140 to 155 µs of CPU of a delivered message (Python 3.11, uvloop).
"""

import asyncio
from types import TracebackType

_LATE_SECONDS = 0.1
_TICKS = 20  # in the time of an attempt: the resolution with which a pause of the process is noticed
_MIN_TICK_SECONDS = 0.1
# A timer that is later than this was held up by a pause; one that is less late, by a busy loop, which must not make
# attempts longer: they would keep their slots the longer the busier the worker is.
_PAUSE_SHARE, _MAX_LAG_SECONDS = 0.25, 1.0
_GRACE_SECONDS = 0.1
_RESOLUTION_SECONDS = 0.001  # of uvloop's timers, which may fire early by half of it


class Deadline:
    """A `with` block that raises TimeoutError once it has expired. Made by `Deadlines.start`, entered at once."""

    __slots__ = ("_cancelling_before", "_expired", "_siblings", "_task", "at")

    def __init__(self, siblings: "dict[Deadline, None]", at: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an attempt is made in a task
        self.at = at  # loop time
        self._siblings = siblings
        self._task = task
        self._cancelling_before = task.cancelling()
        self._expired = False

    def __enter__(self) -> None:
        self._siblings[self] = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        del self._siblings[self]
        # As asyncio.timeout does: a cancellation by another caller meanwhile is passed on.
        if self._expired and self._task.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancels the task; `__exit__` turns that into a TimeoutError."""
        if not self._expired:
            self._expired = True
            self._task.cancel()


class Deadlines:
    """Makes deadlines that all last `seconds`. Needs a running loop once one is started."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[Deadline, None] = {}  # in the order in which they expire
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # loop time of the timer. Not read from its handle: uvloop's has none where it is due at once
        self._waited = False
        self._tick = max(_MIN_TICK_SECONDS, seconds / _TICKS)
        self._pause = min(_MAX_LAG_SECONDS, seconds * _PAUSE_SHARE)

    def start(self) -> Deadline:
        """A deadline that runs from now on."""
        loop = asyncio.get_running_loop()
        at = loop.time() + self._seconds
        if self._timer is None:
            self._set(loop, min(at, loop.time() + self._tick))
        return Deadline(self._running, at)

    def close(self) -> None:
        """Cancels the timer; running deadlines do not expire any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - self._due
        if late > self._pause:
            # This process was paused: requests may not have been sent yet.
            for deadline in self._running:
                deadline.at += late
        if late > _LATE_SECONDS and not self._waited:
            # Responses that arrived in time may still be unread, because loops run timers first.
            self._waited = True
            self._set(loop, now + _GRACE_SECONDS)
            return
        self._timer, self._waited = None, False
        for deadline in self._running:
            if deadline.at > now + _RESOLUTION_SECONDS:
                self._set(loop, min(deadline.at, now + self._tick))
                return
            deadline.expire()

    def _set(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self._due = at
        self._timer = loop.call_at(at, self._on_timer)
