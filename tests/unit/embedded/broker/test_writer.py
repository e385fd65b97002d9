"""What nobody waits for goes along: into the next commit, by itself where none comes, before the file is closed."""

import asyncio
from typing import Any

from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.unit_of_work import UnitOfWork


class Groups:
    """Notes in which group of commands each action ran: a session makes a new `touched` for each."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, session: UnitOfWork) -> None:
        """Is the action."""
        self.seen.append(session.touched)


async def test_a_rider_shares_the_commit_of_the_next_command(broker: EmbeddedBroker) -> None:
    """It runs before the command that was given after it, in the same group."""
    rider, command = Groups(), Groups()
    broker.ride(rider)
    await broker.run(command)
    assert rider.seen[0] is command.seen[0]


async def test_riders_without_a_command_go_together_by_themselves(broker: EmbeddedBroker) -> None:
    """Two riders and no command: they run soon, in one group."""
    rider = Groups()
    broker.ride(rider)
    broker.ride(rider)
    async with asyncio.timeout(5):
        while len(rider.seen) < 2:
            await asyncio.sleep(0.01)
    assert rider.seen[0] is rider.seen[1]


async def test_a_rider_is_not_left_behind_at_the_end(broker: EmbeddedBroker) -> None:
    """A broker that is closed at once has carried it out."""
    rider = Groups()
    broker.ride(rider)
    await broker.close()
    assert len(rider.seen) == 1
