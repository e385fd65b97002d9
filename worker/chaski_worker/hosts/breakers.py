"""The breakers of one worker's hosts. A host has one from its first failure on, until it is as good as new."""

from collections.abc import Mapping

from chaski_core.retry.breaker import Breaker, BreakerRule, BreakerState

MAX_BREAKERS = 1_024
_FIRST_TO_GO = (BreakerState.CLOSED, BreakerState.SPENT)

HostKey = tuple[str, str]  # name of the allow rule, `name:port`


class Permit:
    """One attempt that a breaker lets pass although it holds the host. It is to be ended once."""

    __slots__ = ("breaker", "key")

    def __init__(self, breaker: Breaker, key: HostKey) -> None:
        self.breaker: Breaker | None = breaker  # None: it has ended
        self.key = key


class Breakers:
    """Finds the breaker of a host.

    Args:
        rules: by name of the allow rule. Other rules have no breaker.
        lanes: attempts at once of a host that is not held.
    """

    def __init__(self, rules: Mapping[str, BreakerRule], lanes: int) -> None:
        self._rules = rules
        self._lanes = lanes
        self.known: dict[HostKey, Breaker] = {}  # empty while no host fails

    def get_or_make(self, key: HostKey) -> Breaker | None:
        """The breaker of a host that has failed; None where its rule has none, or all that are remembered hold their hosts."""
        breaker = self.known.get(key)
        rule = self._rules.get(key[0])
        if breaker is not None or rule is None:
            return breaker
        if len(self.known) >= MAX_BREAKERS and not self._forget_one():
            return None
        breaker = self.known[key] = Breaker(rule, self._lanes)
        return breaker

    def forget_if_idle(self, key: HostKey, breaker: Breaker, now: float) -> None:
        """Forgets a breaker that is as good as new."""
        if breaker.is_idle(now) and self.known.get(key) is breaker:
            del self.known[key]

    def _forget_one(self) -> bool:
        for state in _FIRST_TO_GO:
            key = next((key for key, each in self.known.items() if each.state is state), None)
            if key is not None:
                del self.known[key]
                return True
        return False
