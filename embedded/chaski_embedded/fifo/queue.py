"""The rules of one SQS FIFO queue: a state machine without I/O. Time is an argument: queue time in milliseconds.

Kept here is only what decides who gets what next: sequence numbers by group, and a record for each message that was
ever received. Bodies stay on disk. A message that waits in a deep group costs 8 bytes, one that waits elsewhere (not
yet due, or beyond the scan window) about 50, a group about 430 (measured).

Rules and their evidence: research of AWS-validated behaviour, one test row each in tests/unit/embedded/test_fifo.py.
What AWS leaves open: groups are served in the order in which their first message became visible (groups.py).
"""

import heapq
from collections import deque
from collections.abc import Iterable

from chaski_core.ports import MAX_HIDDEN_SECONDS, QueueCounts
from chaski_embedded.fifo.deduplication import DedupWindow
from chaski_embedded.fifo.groups import Group, ReadyGroups
from chaski_embedded.fifo.model import InFlight, Received, Refusal, Settings
from chaski_embedded.fifo.sequence import first_sequence_at, time_of

ATTEMPT_WINDOW_MS = 300_000  # API_ReceiveMessage, ReceiveRequestAttemptId
_MAX_HIDDEN_MS = MAX_HIDDEN_SECONDS * 1000


class _Line:
    """Messages in the order of sending that no group may have yet."""

    def __init__(self) -> None:
        self._sequences: deque[int] = deque()
        self._groups: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def first(self) -> int:
        return self._sequences[0]

    def append(self, sequence: int, group: str) -> None:
        self._sequences.append(sequence)
        self._groups.append(group)

    def popleft(self) -> tuple[int, str]:
        return self._sequences.popleft(), self._groups.popleft()


class FifoQueue:
    """One queue. Every method first lets time pass up to `now`, which must not go back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.changed: set[int] = set()  # messages whose `Held` record changed; the owner writes and clears both sets
        self.gone: set[int] = set()  # messages that are no more
        self._dedup = DedupWindow(per_group=settings.dedup_per_group)
        self._delayed = _Line()  # not due yet
        self._beyond = _Line()  # due, but outside the scan window
        self._groups: dict[str, Group] = {}
        self._records: dict[int, InFlight] = {}
        self._ready = ReadyGroups(self._records)
        self._expiries: list[tuple[int, int]] = []  # heap of (until, sequence), with lazy deletion
        self._attempts: dict[str, tuple[int, tuple[int, ...]]] = {}  # attempt id -> (at, messages), while unmodified
        self._in_groups = 0  # messages in groups, waiting or held
        self._in_flight = 0
        self._oldest_waiting = 0  # no waiting message has a smaller number
        self._turn = 0  # counts messages that were given back

    # ---- sending

    def send(self, sequence: int, group: str, dedup_id: str, now: int) -> int:
        """Takes a message in. Returns its sequence number: the first one's if it is a duplicate."""
        claimed = self._dedup.claim(group, dedup_id, sequence, now)
        if claimed == sequence:
            self._delayed.append(sequence, group)
            self._advance(now)
        return claimed

    def remember(self, sequence: int, group: str, dedup_id: str) -> None:
        """Restores what deduplication knows, in the order of sending."""
        self._dedup.remember(group, dedup_id, sequence)

    def restore(self, sequence: int, group: str, record: InFlight | None) -> None:
        """Puts a stored message back, in the order of sending; `record` if it was ever received."""
        if record is None:
            self._delayed.append(sequence, group)
            return
        self._records[sequence] = record
        lane = self._group(group)
        lane.hold(sequence)
        self._in_groups += 1
        self._in_flight += 1
        self._expire_at(record.until, sequence)
        self._ready.update(lane)

    # ---- receiving

    def take(self, limit: int, hide_ms: int, attempt: str, now: int, wall: int) -> list[Received]:
        """Hands out up to `limit` messages, group by group, and holds them for `hide_ms`.

        `attempt` names the attempt to receive, "" for none: repeated within five minutes it returns the same messages
        under the same handles and holds them anew, unless one of them was deleted, changed or became visible.
        `wall` is the wall clock in epoch milliseconds.
        """
        self._advance(now)
        repeated = self._attempts.get(attempt) if attempt else None
        if repeated is not None and now - repeated[0] < ATTEMPT_WINDOW_MS:
            return [self._hold_again(sequence, hide_ms, now) for sequence in repeated[1]]
        self._forget_attempt(attempt)
        room, delay_ms = min(limit, self.settings.max_in_flight - self._in_flight), self.settings.delay_ms
        taken: list[Received] = []
        groups: list[Group] = []
        while len(taken) < room and (group := self._ready.pop(delay_ms)) is not None:
            groups.append(group)
            taken += self._take_from(group, room - len(taken), now, wall)
        for each in taken:
            self._hold(each, hide_ms, now)
        for group in groups:
            self._settle(group)
        if taken and attempt and hide_ms:
            self._attempts[attempt] = (now, tuple(each.sequence for each in taken))
            for each in taken:
                self._records[each.sequence].attempt = attempt
        self._advance(now)
        return taken

    # ---- holding

    def delete(self, sequence: int, receive: int, now: int) -> Refusal | None:
        """Deletes a held message. One that is gone already is no failure."""
        self._advance(now)
        refusal = self._judge(sequence, receive)
        if refusal is Refusal.GONE:
            return None
        if refusal is None:
            record = self._records[sequence]
            self._forget_attempt(record.attempt)
            self._in_flight -= 1
            group = self._groups[record.group]
            group.held.remove(sequence)
            self._drop(sequence)
            self._settle(group)
            self._advance(now)
        return refusal

    def change(self, sequence: int, receive: int, hide_ms: int, now: int) -> Refusal | None:
        """Holds a held message until `hide_ms` from now; 0 gives it back."""
        self._advance(now)
        refusal = self._judge(sequence, receive)
        if refusal is None:
            record = self._records[sequence]
            if now + hide_ms > record.since + _MAX_HIDDEN_MS:
                return Refusal.TOO_LONG
            self._forget_attempt(record.attempt)
            self._hide(sequence, record, now + hide_ms)
            self._advance(now)
        return refusal

    def give_back(self, sequence: int, receive: int, claim: int, now: int) -> None:
        """Gives a message back whose receiver went away, unless a repeat of its attempt to receive holds it now."""
        record = self._records.get(sequence)
        if record is not None and record.claim == claim:
            self.change(sequence, receive, 0, now)

    def release_all(self, now: int) -> int:
        """Gives every held message back; returns how many."""
        self._advance(now)
        held = [sequence for group in self._groups.values() for sequence in group.held]
        for sequence in held:
            record = self._records[sequence]
            self._forget_attempt(record.attempt)
            self._hide(sequence, record, now)
        self._advance(now)
        return len(held)

    # ---- the queue as a whole

    def configure(self, settings: Settings, now: int) -> None:
        """Applies changed settings. A changed delay holds for messages that lie here already (DOC: FIFO delay queues).

        The scope of deduplication stays as it was made: a change on a live queue had no effect on AWS.
        """
        self._advance(now)
        delay_changed = settings.delay_ms != self.settings.delay_ms
        self.settings = settings
        if delay_changed:
            untouched = sorted(self._take_untouched())
            self._delayed, self._beyond = _Line(), _Line()
            for sequence, group in untouched:
                self._delayed.append(sequence, group)
        self._advance(now)

    def expire(self, limit: int, now: int) -> bool:
        """Drops waiting messages older than the retention, about `limit` of them; whether there may be more.

        Held ones follow when they are visible again. Where nothing is too old no group is looked at. A queue without a
        retention drops nothing.
        """
        self._advance(now)
        oldest = self._oldest(now)
        if oldest <= self._oldest_waiting:
            return False
        before = len(self.gone)
        for line in (self._delayed, self._beyond):
            while line and line.first < oldest and len(self.gone) - before < limit:
                self.gone.add(line.popleft()[0])
        firsts = [line.first for line in (self._delayed, self._beyond) if line]
        for group in list(self._groups.values()):
            while (first := group.first) is not None and first < oldest and len(self.gone) - before < limit:
                self._drop(group.pop())
            if group.first is not None:
                firsts.append(group.first)
            self._settle(group)
        self._oldest_waiting = min(firsts, default=oldest)
        self._advance(now)
        return self._oldest_waiting < oldest

    def counts(self, now: int) -> QueueCounts:
        """Messages by state; those blocked behind a held one count as visible (AWSV)."""
        self._advance(now)
        return QueueCounts(
            visible=self._in_groups - self._in_flight + len(self._beyond),
            in_flight=self._in_flight,
            delayed=len(self._delayed),
        )

    def oldest(self, now: int) -> int | None:
        """Sequence number of the oldest message, whatever its state."""
        self._advance(now)
        # What waits behind a held message of its group is younger than that one, which has a record.
        heads = [line.first for line in (self._delayed, self._beyond) if line]
        heads += [
            sequence for sequence in (self._ready.first, min(self._records, default=None)) if sequence is not None
        ]
        return min(heads, default=None)

    def ready_groups(self, now: int) -> int:
        """How many groups have a message that a receive would return; 0 while the in-flight limit is reached."""
        self._advance(now)
        return len(self._ready) if self._in_flight < self.settings.max_in_flight else 0

    def next_event(self, now: int) -> int | None:
        """Queue time at which something may become deliverable by itself; None if only a call can bring that about."""
        self._advance(now)
        times = []
        if self._expiries:
            times.append(self._expiries[0][0])
        if self._delayed:
            times.append(self._due(self._delayed.first))
        return min(times, default=None)

    def received(self) -> Iterable[int]:
        """Sequence numbers of the messages that were received at least once and are not gone."""
        return self._records.keys()

    def record(self, sequence: int) -> InFlight | None:
        """What is known of a message that was received; None if it never was, or is gone."""
        return self._records.get(sequence)

    # ---- inside

    def _advance(self, now: int) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            self._give_back(*heapq.heappop(self._expiries))
        self._prune_expiries()
        while self._delayed and self._due(self._delayed.first) <= now:
            self._beyond.append(*self._delayed.popleft())
        while self._beyond and self._in_groups < self.settings.scan_window:
            sequence, group_id = self._beyond.popleft()
            group = self._group(group_id)
            group.put(sequence)
            self._in_groups += 1
            self._ready.update(group)

    def _give_back(self, until: int, sequence: int) -> None:
        record = self._records.get(sequence)
        if record is None or record.until != until:
            return
        group = self._groups[record.group]
        if sequence not in group.held:
            return
        self._forget_attempt(record.attempt)
        group.held.remove(sequence)
        group.put(sequence)
        self._turn += 1
        record.place = until, self._turn
        if sequence < self._oldest_waiting:  # noqa: PLR1730 - a call of min() is a tenth of what a message costs here
            self._oldest_waiting = sequence
        self._in_flight -= 1
        self._ready.update(group)

    def _prune_expiries(self) -> None:
        # Entries that a delete or a later hold made void go when they reach the top, or when they are the most.
        while self._expiries and self._is_void(self._expiries[0]):
            heapq.heappop(self._expiries)
        if len(self._expiries) > 2 * self._in_flight + 1024:
            self._expiries = [entry for entry in self._expiries if not self._is_void(entry)]
            heapq.heapify(self._expiries)

    def _is_void(self, entry: tuple[int, int]) -> bool:
        record = self._records.get(entry[1])
        return record is None or record.until != entry[0]

    def _take_from(self, group: Group, limit: int, now: int, wall: int) -> list[Received]:
        oldest = self._oldest(now)
        taken: list[Received] = []
        while len(taken) < limit and group.deliverable is not None:
            sequence = group.pop()
            if sequence < oldest:
                self._drop(sequence)
                continue
            before = self._records.get(sequence)
            receives, first_at = (before.receives + 1, before.first_at) if before else (1, wall)
            taken.append(Received(sequence, group.id, receives, first_at))
        return taken

    def _hold(self, taken: Received, hide_ms: int, now: int) -> None:
        record = InFlight(taken.group, taken.receives, taken.first_at, now, now + hide_ms)
        self._records[taken.sequence] = record
        self._groups[taken.group].hold(taken.sequence)
        self._in_flight += 1
        self._hide(taken.sequence, record, record.until)

    def _hold_again(self, sequence: int, hide_ms: int, now: int) -> Received:
        record = self._records[sequence]
        record.claim += 1
        self._hide(sequence, record, min(now + hide_ms, record.since + _MAX_HIDDEN_MS))
        return Received(sequence, record.group, record.receives, record.first_at, record.claim)

    def _hide(self, sequence: int, record: InFlight, until: int) -> None:
        record.until = until
        self.changed.add(sequence)
        self._expire_at(until, sequence)

    def _expire_at(self, until: int, sequence: int) -> None:
        heapq.heappush(self._expiries, (until, sequence))

    def _judge(self, sequence: int, receive: int) -> Refusal | None:
        record = self._records.get(sequence)
        if record is None:
            return Refusal.GONE
        held = sequence in self._groups[record.group].held
        return None if held and record.receives == receive else Refusal.EXPIRED

    def _drop(self, sequence: int) -> None:
        self._records.pop(sequence, None)
        self.changed.discard(sequence)
        self.gone.add(sequence)
        self._in_groups -= 1

    def _settle(self, group: Group) -> None:
        self._ready.update(group)
        if not group.held and not len(group):
            self._groups.pop(group.id, None)

    def _forget_attempt(self, attempt: str) -> None:
        known = self._attempts.pop(attempt, None) if attempt else None
        for sequence in known[1] if known else ():
            record = self._records.get(sequence)
            if record is not None:
                record.attempt = ""

    def _take_untouched(self) -> Iterable[tuple[int, str]]:
        for line in (self._delayed, self._beyond):
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
            self._settle(group)

    def _group(self, group_id: str) -> Group:
        group = self._groups.get(group_id)
        if group is None:
            group = self._groups[group_id] = Group(group_id)
        return group

    def _due(self, sequence: int) -> int:
        return time_of(sequence) + self.settings.delay_ms

    def _oldest(self, now: int) -> int:
        retention = self.settings.retention_ms
        return 0 if retention is None else first_sequence_at(max(0, now - retention))
