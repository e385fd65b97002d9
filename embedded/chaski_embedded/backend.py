"""The embedded broker as the backend that ingest and workers use."""

from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import EmbeddedQueue
from chaski_embedded.leases import EmbeddedLimitLeases
from chaski_embedded.store import EmbeddedAttemptRecords, EmbeddedControlRecords, EmbeddedDeadLetters, EmbeddedJournal


class EmbeddedBackend:
    """Implements `chaski_core.ports.Backend` over a broker."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._dead_letters = EmbeddedDeadLetters(broker)
        self._attempt_records = EmbeddedAttemptRecords(broker)
        self._control_records = EmbeddedControlRecords(broker)
        self._limit_leases = EmbeddedLimitLeases()
        self._journal = EmbeddedJournal(broker)

    @property
    def dead_letters(self) -> EmbeddedDeadLetters:
        return self._dead_letters

    @property
    def attempt_records(self) -> EmbeddedAttemptRecords:
        """Attempt records of Strict routes."""
        return self._attempt_records

    @property
    def control_records(self) -> EmbeddedControlRecords:
        """What people decided about waiting subjects."""
        return self._control_records

    @property
    def limit_leases(self) -> EmbeddedLimitLeases:
        """How the workers of this process share the limits of targets."""
        return self._limit_leases

    @property
    def journal(self) -> EmbeddedJournal:
        """The journal of attempts."""
        return self._journal

    def queue(self, url: str) -> EmbeddedQueue:
        """The queue with a URL. Makes no call."""
        return self._broker.queue(url)
