"""A small language for rules of a FIFO queue: operations, and their expected results.

send a1 b1 a2           messages 1 and 2 of group a and message 1 of group b, in this order
send a3~a1 = a1         a3 under a1's deduplication id; the queue says that it is a1
take 10 = a1 a2 b1      a receive of at most ten for 30 seconds, and what it returns, in order; `=` alone: nothing
take 10 60 try7 = a1    the same for 60 seconds under the ReceiveRequestAttemptId try7
hide a1 0               the visibility of a1 is changed, with the handle of its latest receive
hide a1#1 0 = expired   with the handle of its first receive; and what the refusal is called
delete a1 = expired     a1 is deleted
wait 30                 30 seconds pass
delay 60, keep 60, in-flight 2, window 2      a setting of the queue is changed
counts 4 2 0            messages visible, in flight, delayed
receives a1 2           a1 was received twice, by its latest receive
"""

from dataclasses import replace

from chaski_core.ports import QueueCounts
from chaski_embedded.fifo.model import Settings
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.fifo.sequence import next_sequence


class FifoScript:
    """Runs a script on a queue and a clock of its own."""

    def __init__(self, *, dedup_per_group: bool = False) -> None:
        self.now = 1_000_000_000
        self.queue = FifoQueue(Settings(dedup_per_group=dedup_per_group))
        self.sequences: dict[str, int] = {}
        self.receives: dict[str, int] = {}
        self._last = 0

    def run(self, script: str) -> None:
        """Runs every line; fails at the first unexpected result."""
        for number, line in enumerate(filter(None, map(str.strip, script.splitlines())), 1):
            done, _, expected = line.partition("=")
            verb, *words = done.split()
            result = getattr(self, "_" + verb.replace("-", "_"))(*words)
            if "=" in line:
                assert result == expected.split(), f"line {number}: {line}"
            elif verb in ("hide", "delete"):
                assert result == ["done"], f"line {number}: {line}"

    def _send(self, *names: str) -> list[str]:
        claimed = []
        for word in names:
            name, _, dedup = word.partition("~")
            self._last = next_sequence(self._last, self.now)
            sequence = self.queue.send(self._last, name[0], dedup or name, self.now)
            if sequence == self._last:
                self.sequences[name] = sequence
            claimed.append(self._name(sequence))
        return claimed

    def _take(self, limit: str, seconds: str = "30", attempt: str = "") -> list[str]:
        taken = self.queue.receive(int(limit), int(seconds) * 1000, attempt, self.now, wall=self.now)
        for each in taken:
            self.receives[self._name(each.sequence)] = each.receives
        return [self._name(each.sequence) for each in taken]

    def _hide(self, handle: str, seconds: str) -> list[str]:
        sequence, receive = self._handle(handle)
        return [str(self.queue.change_visibility(sequence, receive, int(seconds) * 1000, self.now) or "done")]

    def _delete(self, handle: str) -> list[str]:
        sequence, receive = self._handle(handle)
        return [str(self.queue.delete(sequence, receive, self.now) or "done")]

    def _wait(self, seconds: str) -> None:
        self.now += round(float(seconds) * 1000)

    def _delay(self, seconds: str) -> None:
        self.queue.configure(replace(self.queue.settings, delay_ms=int(seconds) * 1000), self.now)

    def _keep(self, seconds: str) -> None:
        self.queue.configure(replace(self.queue.settings, retention_ms=int(seconds) * 1000), self.now)

    def _in_flight(self, limit: str) -> None:
        self.queue.configure(replace(self.queue.settings, max_in_flight=int(limit)), self.now)

    def _window(self, size: str) -> None:
        self.queue.configure(replace(self.queue.settings, scan_window=int(size)), self.now)

    def _counts(self, visible: str, in_flight: str, delayed: str) -> None:
        assert self.queue.counts(self.now) == QueueCounts(int(visible), int(in_flight), int(delayed))

    def _receives(self, name: str, times: str) -> None:
        assert self.receives[name] == int(times)

    def _handle(self, text: str) -> tuple[int, int]:
        name, _, receive = text.partition("#")
        return self.sequences[name], int(receive or self.receives[name])

    def _name(self, sequence: int) -> str:
        return next(name for name, known in self.sequences.items() if known == sequence)
