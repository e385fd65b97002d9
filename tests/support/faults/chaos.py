"""Faults of every kind in a random share of all calls."""

import random

from support.faults.proxy import (
    Exchange,
    Fault,
    cut,
    cut_after_effect,
    cut_in_answer,
    fail_entries,
    nonsense,
    pass_on,
    refuse,
    swallow_answer,
)

FAULTS: tuple[Fault, ...] = (
    cut,
    cut_after_effect,
    cut_in_answer,
    refuse(500, "InternalFailure"),
    refuse(503),
    refuse(400, "ThrottlingException"),
    refuse(403, "ExpiredTokenException"),
    nonsense,
)
ENTRY_FAULTS: dict[str, tuple[Fault, ...]] = {  # inside an HTTP 200
    "SendMessageBatch": (fail_entries("0"),),
    "DeleteMessageBatch": (
        fail_entries("0"),
        fail_entries("0", code="InvalidParameterValue", sender_fault=True),  # "The receipt handle has expired"
    ),
    "ChangeMessageVisibilityBatch": (
        fail_entries("0"),
        fail_entries("0", code="InvalidParameterValue", sender_fault=True),
    ),
}
_UNANSWERED = 0.004  # of all calls: each takes ten seconds


def chaos(share: float, chance: random.Random, met: set[str]) -> Fault:
    """A fault for that share of all exchanges; records the affected actions in `met`."""

    async def harm(exchange: Exchange) -> None:
        drawn = chance.random()
        if drawn >= share:
            await pass_on(exchange)
            return
        met.add(exchange.action)
        if drawn < _UNANSWERED:
            await swallow_answer(exchange)
            return
        await chance.choice((*FAULTS, *ENTRY_FAULTS.get(exchange.action, ()) * 3))(exchange)

    return harm
