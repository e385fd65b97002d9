"""The rules of one SQS FIFO queue: a state machine without I/O. Time is an argument: queue time in milliseconds.

Each rule is AWS-validated behaviour with a test row in tests/unit/embedded/fifo/test_queue.py. Where AWS promises
nothing, groups are served in the order in which their first message became visible (groups.py).
"""

from collections.abc import Iterable

from chaski_core.ports import MAX_HIDDEN_SECONDS, QueueCounts
from chaski_embedded.fifo.groups import Group
from chaski_embedded.fifo.model import HandleFailure, InFlight, Received, Settings
from chaski_embedded.fifo.state import PendingList, QueueState

ATTEMPT_WINDOW_MS = 300_000  # API_ReceiveMessage, ReceiveRequestAttemptId
_MAX_HIDDEN_MS = MAX_HIDDEN_SECONDS * 1000


class FifoQueue(QueueState):
    """One queue. Every method first advances the state to `now`."""

    # ---- sending

    def send(self, sequence: int, group: str, dedup_id: str, now: int) -> int:
        """Adds a message. Returns its sequence number: that of the first message if it is a duplicate."""
        accepted = self._dedup.register(group, dedup_id, sequence, now)
        if accepted == sequence:
            self._delayed.append(sequence, group)
            self._advance(now)
        return accepted

    def remember(self, sequence: int, group: str, dedup_id: str) -> None:
        """Restores a deduplication entry, in the order of sending."""
        self._dedup.remember(group, dedup_id, sequence)

    def restore(self, sequence: int) -> None:
        """Restores a stored message that was never received, in the order of sending."""
        self._delayed.append_stored(sequence)

    def restore_received(self, sequence: int, group: str, record: InFlight) -> None:
        """Restores a stored message that was received, in the order of sending."""
        self._records[sequence] = record
        message_group = self._group(group)
        message_group.add_in_flight(sequence)
        self._in_groups += 1
        self._in_flight += 1
        self._expire_at(record.until, sequence)
        self._ready.update(message_group)

    # ---- receiving

    def receive(self, limit: int, hide_ms: int, attempt: str, now: int, wall: int) -> list[Received]:
        """Returns up to `limit` messages, group by group, and hides them for `hide_ms`.

        `attempt` names the receive attempt, "" for none: repeated within five minutes it returns the same messages with
        the same handles and hides them again, unless one of them was deleted, changed or became visible. `wall` is the
        wall clock in epoch milliseconds.
        """
        self._advance(now)
        repeated = self._attempts.get(attempt) if attempt else None
        if repeated is not None and now - repeated[0] < ATTEMPT_WINDOW_MS:
            return [self._repeat(sequence, hide_ms, now) for sequence in repeated[1]]
        self._end_attempt(attempt)
        free, delay_ms = min(limit, self.settings.max_in_flight - self._in_flight), self.settings.delay_ms
        received: list[Received] = []
        groups: list[Group] = []
        while len(received) < free and (group := self._ready.pop(delay_ms)) is not None:
            groups.append(group)
            received += self._receive_from(group, free - len(received), now, wall)
        for each in received:
            self._mark_in_flight(each, hide_ms, now)
        for group in groups:
            self._update_group(group)
        if received and attempt and hide_ms:
            self._attempts[attempt] = (now, tuple(each.sequence for each in received))
            for each in received:
                self._records[each.sequence].attempt = attempt
        self._advance(now)
        return received

    # ---- messages in flight

    def delete(self, sequence: int, receive: int, now: int) -> HandleFailure | None:
        """Deletes a message in flight. A message that was deleted before is a success."""
        self._advance(now)
        failure = self._check_handle(sequence, receive)
        if failure is HandleFailure.DELETED:
            return None
        if failure is None:
            record = self._records[sequence]
            self._end_attempt(record.attempt)
            self._in_flight -= 1
            group = self._groups[record.group]
            group.in_flight.remove(sequence)
            self._drop(sequence)
            self._update_group(group)
            self._advance(now)
        return failure

    def change_visibility(self, sequence: int, receive: int, hide_ms: int, now: int) -> HandleFailure | None:
        """Hides a message in flight until `hide_ms` from now; 0 makes it visible."""
        self._advance(now)
        failure = self._check_handle(sequence, receive)
        if failure is None:
            record = self._records[sequence]
            if now + hide_ms > record.since + _MAX_HIDDEN_MS:
                return HandleFailure.TOO_LONG
            self._end_attempt(record.attempt)
            self._hide(sequence, record, now + hide_ms)
            self._advance(now)
        return failure

    def release(self, sequence: int, receive: int, repeats: int, now: int) -> None:
        """Makes a message visible whose receiver was cancelled, unless a repeat of the receive attempt returned it since."""
        record = self._records.get(sequence)
        if record is not None and record.repeats == repeats:
            self.change_visibility(sequence, receive, 0, now)

    def release_all(self, now: int) -> int:
        """Makes every message in flight visible; returns their number."""
        self._advance(now)
        in_flight = [sequence for group in self._groups.values() for sequence in group.in_flight]
        for sequence in in_flight:
            record = self._records[sequence]
            self._end_attempt(record.attempt)
            self._hide(sequence, record, now)
        self._advance(now)
        return len(in_flight)

    # ---- the queue as a whole

    def configure(self, settings: Settings, now: int) -> None:
        """Applies changed settings. A changed delay applies to messages already in the queue (DOC: FIFO delay queues).

        The scope of deduplication stays as created: a change on a live queue had no effect on AWS.
        """
        self._advance(now)
        delay_changed = settings.delay_ms != self.settings.delay_ms
        self.settings = settings
        if delay_changed:
            unreceived = sorted(self._pop_unreceived())
            self._delayed, self._due = PendingList(self._groups_of), PendingList(self._groups_of)
            for sequence, group in unreceived:
                self._delayed.append(sequence, group)
        self._advance(now)

    def expire(self, limit: int, now: int) -> bool:
        """Deletes waiting messages older than the retention, about `limit` of them; returns whether there may be more.

        Messages in flight expire once they are visible again. Groups are scanned only if a message can be too old. A
        queue without a retention deletes nothing.
        """
        self._advance(now)
        oldest = self._oldest_retained(now)
        if oldest <= self._oldest_waiting:
            return False
        before = len(self.deleted)
        for line in (self._delayed, self._due):
            while line and line.first < oldest and len(self.deleted) - before < limit:
                self.deleted.add(line.popleft()[0])
        firsts = [line.first for line in (self._delayed, self._due) if line]
        for group in list(self._groups.values()):
            while (first := group.first) is not None and first < oldest and len(self.deleted) - before < limit:
                self._drop(group.pop())
            if group.first is not None:
                firsts.append(group.first)
            self._update_group(group)
        self._oldest_waiting = min(firsts, default=oldest)
        self._advance(now)
        return self._oldest_waiting < oldest

    def counts(self, now: int) -> QueueCounts:
        """Messages by state; those blocked behind a message in flight count as visible (AWSV)."""
        self._advance(now)
        return QueueCounts(
            visible=self._in_groups - self._in_flight + len(self._due),
            in_flight=self._in_flight,
            delayed=len(self._delayed),
        )

    def oldest(self, now: int) -> int | None:
        """Sequence number of the oldest message in any state."""
        self._advance(now)
        # A message that waits behind one in flight is younger than that one, which has a record.
        heads = [line.first for line in (self._delayed, self._due) if line]
        heads += [
            sequence for sequence in (self._ready.first, min(self._records, default=None)) if sequence is not None
        ]
        return min(heads, default=None)

    def ready_groups(self, now: int) -> int:
        """Number of groups with a message that a receive would return; 0 while the in-flight limit is reached."""
        self._advance(now)
        return len(self._ready) if self._in_flight < self.settings.max_in_flight else 0

    def next_event(self, now: int) -> int | None:
        """Queue time at which a message may become deliverable without a call; None if only a call can cause that."""
        self._advance(now)
        times = []
        if self._expiries:
            times.append(self._expiries[0][0])
        if self._delayed:
            times.append(self._due_at(self._delayed.first))
        return min(times, default=None)

    def received(self) -> Iterable[int]:
        """Sequence numbers of the messages that were received at least once and still exist."""
        return self._records.keys()

    def record(self, sequence: int) -> InFlight | None:
        """The record of a message that was received; None if it never was, or was deleted."""
        return self._records.get(sequence)

    # ---- inside

    def _receive_from(self, group: Group, limit: int, now: int, wall: int) -> list[Received]:
        oldest = self._oldest_retained(now)
        received: list[Received] = []
        while len(received) < limit and group.deliverable is not None:
            sequence = group.pop()
            if sequence < oldest:
                self._drop(sequence)
                continue
            before = self._records.get(sequence)
            receives, first_at = (before.receives + 1, before.first_at) if before else (1, wall)
            received.append(Received(sequence, group.id, receives, first_at))
        return received

    def _mark_in_flight(self, received: Received, hide_ms: int, now: int) -> None:
        record = InFlight(received.group, received.receives, received.first_at, now, now + hide_ms)
        self._records[received.sequence] = record
        self._groups[received.group].add_in_flight(received.sequence)
        self._in_flight += 1
        self._hide(received.sequence, record, record.until)

    def _repeat(self, sequence: int, hide_ms: int, now: int) -> Received:
        record = self._records[sequence]
        record.repeats += 1
        self._hide(sequence, record, min(now + hide_ms, record.since + _MAX_HIDDEN_MS))
        return Received(sequence, record.group, record.receives, record.first_at, record.repeats)

    def _check_handle(self, sequence: int, receive: int) -> HandleFailure | None:
        record = self._records.get(sequence)
        if record is None:
            return HandleFailure.DELETED
        in_flight = sequence in self._groups[record.group].in_flight
        return None if in_flight and record.receives == receive else HandleFailure.EXPIRED

    def _pop_unreceived(self) -> Iterable[tuple[int, str]]:
        for line in (self._delayed, self._due):
            while line:
                yield line.popleft()
        for group in list(self._groups.values()):
            waiting = [group.pop() for _ in range(len(group))]
            for sequence in waiting:
                if sequence in self._records:
                    group.put(sequence)
                else:
                    self._in_groups -= 1
                    yield sequence, group.id
            self._update_group(group)
