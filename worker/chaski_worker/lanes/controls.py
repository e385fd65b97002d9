"""What people decided about subjects, read from the route's table and applied to the heads that lanes receive.

The records are read as a set, at most once in `interval_seconds` and only while messages are received: an idle worker reads nothing.
A busy one reads beside the attempts, which don't wait. A set that is older than a minute, or was never read, is read before the
next attempts. While the table does not respond these wait for five seconds, once for each read, and the last known set applies.
"""

import asyncio
import logging
from dataclasses import replace

from chaski_core.errors import BackendError
from chaski_core.ports import Clock, ControlRecords
from chaski_core.retry.control import NO_CONTROLS, ControlAction, ControlRecord
from chaski_core.retry.control import Controls as ControlSet
from chaski_core.retry.ladder import Reason
from chaski_core.timestamps import timestamp
from chaski_worker.delivery.admission import ParkLaneError
from chaski_worker.delivery.triage import Deliverable, Undeliverable
from chaski_worker.hosts.hold_table import hold_step

_log = logging.getLogger(__name__)
_OLD_SECONDS = 60.0
_WAIT_SECONDS = 5.0  # for a read, from its begin
_EXHAUSTED_SCALE = 12  # of the limits of a step


class SubjectControls:
    """The decisions about one route's subjects, as one worker knows them.

    `may_apply` is False while there are none, nearly always: lanes ask nothing else then.

    Args:
        route: namespace/name.
        records: of the route.
        clock: monotonic for the age of the set, wall clock for that of a hold.
        interval_seconds: between two reads.
        step_seconds: for how long a waiting head is hidden at most, before it is received and judged again.
    """

    def __init__(
        self, route: str, records: ControlRecords, clock: Clock, *, interval_seconds: float, step_seconds: int
    ) -> None:
        self.may_apply = True
        self._route = route
        self._records = records
        self._clock = clock
        self._interval = interval_seconds
        self._step = step_seconds
        self._set: ControlSet = NO_CONTROLS
        self._is_stale = True
        self._failed = False
        self._read_at = float("-inf")  # monotonic seconds at the begin of the last read that succeeded
        self._began_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._applied: dict[str, ControlRecord] = {}  # by identity: its attempt is under way
        self._timer: asyncio.TimerHandle | None = None

    async def apply(self, task: Deliverable) -> Deliverable | Undeliverable:
        """What becomes of a message that would be attempted now, or is not due yet: attempted at once, or skipped.

        Raises:
            ParkLaneError: its subject is held.
        """
        control = await self.find(task)
        if control is None:
            return task
        if control.action is ControlAction.HOLD:
            raise ParkLaneError(self.hidden_seconds(control.at))
        return skipped(task, control) if control.action is ControlAction.SKIP else replace(task, due_at=None)

    async def find(self, task: Deliverable, *, waits: bool = False) -> ControlRecord | None:
        """What was decided about a message and still applies.

        Args:
            task: its `ladder` is its progress.
            waits: it is not due yet. Then, as where its subject is held, the records are read first: people may have made it
                visible just now.
        """
        if self._is_stale:
            self._read_soon()
            if self._clock.monotonic() - self._read_at > _OLD_SECONDS:
                await self._wait()
        control = self._find(task)
        if waits or (control is not None and control.action is ControlAction.HOLD):
            await self._read_again()
            control = self._find(task)
        if control is not None and control.action is not ControlAction.HOLD:
            if self._applied.get(task.message_id) != control:
                _log_applied(control)
            self._applied[task.message_id] = control
        return control

    async def settled(self, message_id: str, *, ended: bool) -> None:
        """A message was attempted or skipped, and that is stored: what was decided about it is done.

        Args:
            message_id: its identity.
            ended: it is delivered or a dead letter, so that nothing decided about it can apply any more.
        """
        control = self._applied.pop(message_id, None)
        if control is None and ended:
            control = self._set.by_message.get(message_id)
        if control is None:
            return
        by_message = {key: each for key, each in self._set.by_message.items() if each != control}
        self._use(ControlSet(self._set.held, by_message))
        try:
            await self._records.remove(control)
        except BackendError as error:
            _log.warning("could not remove a control record, leaving it to expire: %s", error)

    def hidden_seconds(self, since_ms: int, *, exhausted: bool = False) -> int:
        """For how long the head of a held subject is hidden before it is received and judged again, as that of a held host.

        Args:
            since_ms: of the hold, epoch milliseconds.
            exhausted: held because its ladder has ended. People make its head visible when they decide, so steps are longer.
        """
        lasted = (self._clock.now_ms() - since_ms) / 1000
        return hold_step(lasted, self._step, _EXHAUSTED_SCALE if exhausted else 1)

    def close(self) -> None:
        """Reads nothing any more."""
        for each in (self._timer, self._reading):
            if each is not None:
                each.cancel()

    def _find(self, task: Deliverable) -> ControlRecord | None:
        attempts = 0 if task.ladder is None else task.ladder.attempts
        return self._set.find(task.envelope.subject, task.message_id, attempts)

    def _read_soon(self) -> None:
        if self._reading is None:
            self._began_at = self._clock.monotonic()
            self._reading = asyncio.create_task(self._read())

    async def _wait(self) -> None:
        left = self._began_at + _WAIT_SECONDS - self._clock.monotonic()
        if self._reading is not None and left > 0:
            await asyncio.wait([self._reading], timeout=left)

    async def _read_again(self) -> None:
        """Waits for a read that begins now; lanes that ask at the same time share it."""
        await self._wait()  # one that is under way began earlier
        self._read_soon()
        await self._wait()

    async def _read(self) -> None:
        try:
            found = ControlSet.of(await self._records.read(self._route))
        except BackendError as error:
            if not self._failed:
                _log.warning("could not read the control records of %s, will retry: %s", self._route, error)
            self._failed = True
        else:
            self._failed, self._read_at = False, self._began_at
            self._use(found)
        finally:
            self._reading = None
        self._is_stale = False
        self.may_apply = bool(self._set.held or self._set.by_message)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._expire)

    def _use(self, found: ControlSet) -> None:
        self._set = found
        self._applied = {key: each for key, each in self._applied.items() if found.by_message.get(key) == each}

    def _expire(self) -> None:
        self._is_stale = self.may_apply = True


def skipped(task: Deliverable, control: ControlRecord) -> Undeliverable:
    """A message that people don't want to be attempted any more."""
    detail = f"skipped by a person at {timestamp(control.at)}"
    return Undeliverable(task.message_id, Reason.SKIPPED, detail, task.envelope, task.ladder)


def _log_applied(control: ControlRecord) -> None:
    _log.info(
        "%s: %s of message %s, decided at %s",
        control.route,
        control.action,
        control.message_id,
        timestamp(control.at),
        extra={
            "ecs": {
                "event.action": f"subject-{control.action}",
                "chaski.message.id": control.message_id,
                "chaski.subject": control.subject,
            }
        },
    )
