"""How workers share a target's limits: leases in one table, read and written by all of them. Pure.

The table is a value that is replaced as a whole, and only where no other worker has replaced it since it was read. It has one lease
for each worker that uses the limit or waits for it, the one that gets the next share first. A worker changes its own lease only,
and removes those that have expired. So the shares in a table never add up to more than the whole.

No two clocks are compared. A worker may use its shares for `USABLE_SECONDS`, counted by its own clock from before it wrote the
table. Others take over a lease that has not changed for `expires_seconds`, counted by their own clocks from when they first read
it: later, and longer by a margin and by the longest attempt, which may still be under way at the target when its worker is lost.

Shares go to those that want some, evenly (`fair_shares`). Where there are more workers than shares they take turns: one that has had
shares for `TURN_SECONDS` goes to the end of the table, if another one waits for as long.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from chaski_core.retry.limit import LimitRule

USABLE_SECONDS = 10.0  # a lease that can't be renewed is used for so long
RENEW_SECONDS = 2.0
TURN_SECONDS = 5.0
SILENT_SECONDS = 6.0  # after which nothing more is kept ready for a worker that has not renewed its lease
MAX_LEASES = 128  # in a table, so that an item stays small; further workers wait without one
_MARGIN_SECONDS = 5  # of the expiry: for clocks that run at different rates, and for a request that is on its way


@dataclass(frozen=True, slots=True)
class Lease:
    """What one worker holds of a limit, and what it wants."""

    holder: str
    shares: int
    whole: int  # into how many shares the holder's release of the route cuts the limit
    wants: int  # including those that it has
    beat: int  # counts the writes of the holder: while it grows, the holder lives
    expires_seconds: int  # after which others take its shares, if `beat` has not changed

    @property
    def part(self) -> Fraction:
        """Of the whole limit."""
        return Fraction(self.shares, self.whole)


@dataclass(frozen=True, slots=True)
class LimitKey:
    """What the attempts are limited of."""

    route: str  # namespace/name
    target: str  # name of the allow rule
    host: str  # `name:port`; "" for all hosts of the rule


@dataclass(frozen=True, slots=True)
class LeaseTable:
    """The leases of one limit, as they were read."""

    version: int  # 0: none were written yet
    leases: Sequence[Lease]


class LimitLeases(Protocol):
    """How workers share the limits of targets: one table for each limit."""

    async def read(self, key: LimitKey) -> LeaseTable:
        """The table, by a consistent read."""
        ...

    async def write(self, key: LimitKey, version: int, leases: Sequence[Lease]) -> bool:
        """Replaces the table that was read with a version; False where another worker has replaced it since.

        Where it raises, the table may have been replaced or not.
        """
        ...


@dataclass(frozen=True, slots=True)
class Demand:
    """What a worker needs of a limit."""

    wants: int  # shares for the attempts that run and wait; 0: it has not used the limit for a while
    busy: int  # shares for the attempts that run


def fair_shares(leases: Sequence[Lease], whole: int) -> list[int]:
    """The shares of each lease where everyone got as many as anyone else, or what it wants: one by one, in the order given."""
    wants = [-(-lease.wants * whole // lease.whole) for lease in leases]
    given = [0] * len(leases)
    left = whole
    while left and (short := [at for at, want in enumerate(wants) if given[at] < want]):
        for at in short[:left]:
            given[at] += 1
        left -= min(left, len(short))
    return given


class LeaseHolder:
    """One worker's part in a limit. Times are seconds of a clock that only goes forward and counts on while the process is paused.

    To be called in turns: `plan` with the table as it was read and then, if there is something to write and it was written,
    `confirm`. Where that is not known nothing is called, and the next table shows it.

    Args:
        name: of the worker, unique.
        rule: the limit.
        attempt_seconds: how long an attempt takes at most.
    """

    def __init__(self, name: str, rule: LimitRule, attempt_seconds: float) -> None:
        self.name = name
        self._whole = rule.shares
        running = 0 if rule.concurrency is None else math.ceil(attempt_seconds)
        self._expires_seconds = int(USABLE_SECONDS) + _MARGIN_SECONDS + running
        self._seen: dict[str, tuple[int, float]] = {}  # holder -> beat, and when it was first read
        self._waits: dict[str, float] = {}  # holder -> since when it was seen to want shares and have none
        self._beat = 0
        self._allowed = 0  # shares for attempts that start
        self._planned = 0  # the same, once the plan is written
        self._usable_until = self._renew_at = self._turn_since = float("-inf")
        self.leased = 0  # shares in the table as it was last written or read
        self.listed = False  # whether that table has a lease of this worker
        self.workers = 1  # in the table
        self.yields = False  # it has more shares in the table than it may use, until attempts have ended
        self.entitled = False  # it is to have more shares, as soon as others have given them back

    def usable(self, now: float) -> int:
        """The shares for an attempt that starts now."""
        return self._allowed if now < self._usable_until else 0

    def plan(self, found: Sequence[Lease], demand: Demand, now: float) -> tuple[Lease, ...] | None:
        """The table to write instead of the one found; None: it may stay for now.

        Shares that it gives back are no longer usable from here on, whatever becomes of the write.
        """
        own = next((lease for lease in found if lease.holder == self.name), None)
        self._observe_table(found)
        order = self._without_expired(found, now)
        if own is None:
            self._allowed = 0
            self.yields = self.entitled = False
            if not demand.wants or len(order) >= MAX_LEASES:
                return None
            own = Lease(self.name, 0, self._whole, 0, 0, self._expires_seconds)
            order.append(own)
        self._beat += 1
        mine = replace(
            own, wants=demand.wants, beat=self._beat, whole=self._whole, expires_seconds=self._expires_seconds
        )
        order[order.index(own)] = mine
        order, fair = self._take_turns(order, mine, now)
        keep = self._shares_to_keep(order, mine, fair, demand)
        shares = min(max(keep, min(mine.shares, demand.busy)), self._free(order, mine))
        self._planned = min(keep, shares)
        self._allowed = min(self._allowed, self._planned)
        self.yields = shares > keep
        self.entitled = shares < keep or (bool(demand.wants) and not shares)
        final = replace(mine, shares=shares)
        table = tuple(
            final if lease is mine else lease for lease in order if lease is not mine or shares or demand.wants
        )
        is_same = [lease.holder for lease in table] == [lease.holder for lease in found]
        return None if is_same and shares == own.shares and now < self._renew_at else table

    def confirm(self, table: Sequence[Lease], asked_at: float) -> None:
        """The planned table was written, by a request made at `asked_at`."""
        if self._planned and not self._allowed:
            self._turn_since = asked_at
        self._allowed = self._planned
        self._usable_until = asked_at + USABLE_SECONDS
        self._renew_at = asked_at + RENEW_SECONDS
        self._observe_table(table)

    def _observe_table(self, table: Sequence[Lease]) -> None:
        own = [lease.shares for lease in table if lease.holder == self.name]
        self.listed, self.leased, self.workers = bool(own), sum(own), len(table)

    def _without_expired(self, found: Sequence[Lease], now: float) -> list[Lease]:
        seen, self._seen = self._seen, {}
        waits, self._waits = self._waits, {}
        for lease in found:
            beat, since = seen.get(lease.holder, (None, now))
            self._seen[lease.holder] = (lease.beat, since if beat == lease.beat else now)
            if lease.wants and not lease.shares:
                self._waits[lease.holder] = waits.get(lease.holder, now)
        return [
            lease
            for lease in found
            if lease.holder == self.name or now - self._seen[lease.holder][1] < lease.expires_seconds
        ]

    def _take_turns(self, order: list[Lease], mine: Lease, now: float) -> tuple[list[Lease], list[int]]:
        """The order and the fair shares; it goes to the end where its turn is over and another one has waited for one."""
        fair = self._fair(order, now)
        if mine.shares and now - self._turn_since >= TURN_SECONDS:
            for lease, given in zip(order, fair, strict=True):
                if lease.wants and not given and now - self._waits.get(lease.holder, now) >= TURN_SECONDS:
                    self._turn_since = now
                    order = [*(each for each in order if each is not mine), mine]
                    return order, self._fair(order, now)
        return order, fair

    def _fair(self, order: Sequence[Lease], now: float) -> list[int]:
        """As `fair_shares`, without what silent workers want. The shares that they have are theirs until they expire."""
        silent = {
            name for name, (_, since) in self._seen.items() if now - since >= SILENT_SECONDS and name != self.name
        }
        return fair_shares([replace(each, wants=0) if each.holder in silent else each for each in order], self._whole)

    def _shares_to_keep(self, order: Sequence[Lease], mine: Lease, fair: Sequence[int], demand: Demand) -> int:
        """Its fair part. What it does not want it keeps while it uses the limit and no other worker wants more."""
        if not demand.wants:
            return 0
        target = fair[order.index(mine)]
        others_want = any(
            given > lease.part * self._whole for lease, given in zip(order, fair, strict=True) if lease is not mine
        )
        return target if others_want else max(target, mine.shares)

    def _free(self, order: Sequence[Lease], mine: Lease) -> int:
        """The shares that the table has for this worker: all but those of others."""
        others = sum((lease.part for lease in order if lease is not mine), Fraction(0))
        return max(0, math.floor((1 - others) * self._whole))
