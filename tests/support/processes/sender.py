"""A process that sends until it is killed: `python sender.py FOLDER ROUND`. Prints each acknowledged id."""

import asyncio
import os
import sys
import time
from pathlib import Path

from chaski_core.ports import OutgoingMessage
from chaski_embedded.broker.broker import EmbeddedBroker

GROUPS = 8
QUEUE = "kept.fifo"


class _Clock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


async def _send(folder: Path, round_number: str) -> None:
    broker = await EmbeddedBroker.open(folder, _Clock())
    url = await broker.create_queue(QUEUE, {"FifoQueue": "true"})
    queue = broker.queue(url)

    async def send_group(group: int) -> None:
        number = 0
        while True:
            ids = [f"{round_number}-{group}-{number + n:06}" for n in range(1 + number % 3)]
            number += len(ids)
            await queue.send([OutgoingMessage(b"x" * 300, f"g{group}", each) for each in ids])
            os.write(1, "".join(f"{each}\n" for each in ids).encode())

    await asyncio.gather(*(send_group(group) for group in range(GROUPS)))


if __name__ == "__main__":
    asyncio.run(_send(Path(sys.argv[1]), sys.argv[2]))
