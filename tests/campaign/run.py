"""Runs one campaign: starts all processes, runs load and faults, waits until all messages are settled, and gathers the evidence."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from campaign.evidence import DeadLetter, Disturbance, Evidence, Request, merged, read_records
from campaign.faults import FAULTS, IDS, NAMES, Injector
from campaign.judge import STALL, possible_times
from campaign.load import Load
from campaign.machine import now
from campaign.order import given_up_at, settled_at
from campaign.plan import WAITING, Message
from campaign.programs import Program, World, recording, world

WAITING_MESSAGES = 40
_QUIET_SECONDS = (
    40.0  # without requests the campaign ends: longer than a visibility timeout, a rung and a start together
)
_STILL_SECONDS = 3.0
_SETTLE_SECONDS = 900.0
_LONGER = 3  # times the requested duration, if faults delay the load
_SAMPLED = 6  # number of dead letters that are checked with the real commands
_LIMIT = "10000000"
_STALL_SECONDS = 1.0
_TICK = 0.25
_STARVATION_TICK, _STARVED_SHARE, _STALLED_SHARE = 2.0, 0.4, 0.75


@dataclass(frozen=True)
class Options:
    """Parameters of a campaign."""

    seed: int
    seconds: float
    messages: int
    backend: str  # embedded or sqs
    ordering: str  # Strict or Relaxed
    faults: Sequence[str] = NAMES


@dataclass
class Progress:
    """State of a running campaign, for display."""

    phase: str = "starting"
    given: int = 0
    accepted: int = 0
    requests: int = 0
    left: int = 0  # accepted and not settled, according to the target


@dataclass
class _Tail:
    """Reads the target's file as it grows."""

    file: Path
    requests: list[Request] = field(default_factory=list)
    stalls: list[Disturbance] = field(default_factory=list)
    _position: int = 0

    def read(self) -> int:
        """Reads the complete lines that were added; returns the number of requests."""
        with self.file.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        requests, stalls = read_records(whole.decode().splitlines())
        self.requests += requests
        self.stalls += stalls
        return len(self.requests)


async def run(options: Options, folder: Path, report: Callable[[str], None], progress: Progress) -> Evidence:
    """Runs a campaign.

    Args:
        options: its parameters.
        folder: an empty folder for logs and recordings.
        report: is called with each fault and each fault that is impossible here.
        progress: is updated.

    Raises:
        RuntimeError: A command of Chaski failed that the campaign needs.
    """
    tail = _Tail(folder / "requests.tsv")
    zero, wall = now(), time.time() - now()
    async with recording(tail.file) as target, world(options.backend, folder, target, options.ordering) as made:
        load = Load(made.ingest, target, options.seed, options.messages, options.seconds)
        load.keys, load.reuse = made.backend == "sqs", IDS in options.faults
        names = _possible(options, made, report)
        injector = Injector(made, options.seed, names, lambda text: report(f"{now() - zero:8.1f} s  {text}"))
        async with _watched(made.programs) as stalls:
            if "retention" in names:
                await load.send_waiting(_waiting_messages(options.seed), WAITING)
            await _under_load(load, injector, tail, progress, options.seconds)
            report(f"responses that neither accepted nor refused: {dict(load.unclear)}")
            progress.phase = "settling"
            await _settled(load, tail, progress, options.ordering)
        progress.phase = "reading the stores"
        drafted = Evidence(
            options.ordering,
            load.sendings,
            tail.requests,
            (),
            merged([*injector.done, *tail.stalls, *stalls]),
            now(),
            zero,
            wall,
        )
        dead_letters = await _dead_letters(made, drafted)
        ended = await asyncio.gather(*(each.stop() for each in made.programs))
        exits = [text for each in made.programs for text in each.exits]
        exits += [f"{each.name}: {code} after SIGTERM" for each, code in zip(made.programs, ended, strict=True) if code]
        evidence = replace(drafted, dead_letters=dead_letters, exits=exits)
        return await _with_samples(made, evidence, options.seed)


def _possible(options: Options, made: World, report: Callable[[str], None]) -> list[str]:
    reasons = {name: FAULTS[name].impossible(made) for name in options.faults if name != IDS}
    for name, reason in reasons.items():
        if reason:
            report(f"impossible here: {name}: {reason}")
    return [name for name, reason in reasons.items() if not reason]


def _waiting_messages(seed: int) -> list[Message]:
    chance = random.Random(f"{seed}/waiting")
    kinds = ("cx", "fx", "rx", "ok")
    return [Message(f"w{n}.0.{chance.choice(kinds)}", f"w{n}", 0) for n in range(WAITING_MESSAGES)]


async def _under_load(load: Load, injector: Injector, tail: _Tail, progress: Progress, seconds: float) -> None:
    """Runs load and faults concurrently; the faults end with the load, and not before the campaign's duration is over."""
    progress.phase = "load"
    faults = asyncio.create_task(injector.run())
    sending = asyncio.create_task(load.run())
    until, latest = now() + seconds, now() + _LONGER * seconds
    try:
        while now() < until or (load.given < load.wanted and now() < latest):
            _follow(load, tail, progress)
            for task in (faults, sending):
                if task.done() and task.exception() is not None:
                    task.result()
            await asyncio.sleep(_TICK)
        load.wanted = load.given
        injector.stopping.set()
        await faults
        await sending
    finally:
        faults.cancel()
        sending.cancel()
        await asyncio.gather(faults, sending, return_exceptions=True)


def _follow(load: Load, tail: _Tail, progress: Progress) -> None:
    progress.given = load.given
    progress.accepted = sum(each.accepted is not None for each in load.sendings)
    progress.requests = tail.read()


async def _settled(load: Load, tail: _Tail, progress: Progress, ordering: str) -> None:
    """Waits until all accepted messages are settled at the target, or until it gets no more requests."""
    last, since = -1, now()
    deadline = now() + _SETTLE_SECONDS
    while now() < deadline and now() - since < _QUIET_SECONDS:
        _follow(load, tail, progress)
        if progress.requests != last:
            last, since = progress.requests, now()
        elif now() - since > _STILL_SECONDS:
            evidence = Evidence(ordering, load.sendings, tail.requests)
            accepted = [each for each in load.sendings if each.accepted is not None]
            progress.left = sum(
                each.message.token not in evidence.by_token or settled_at(evidence, each) is None for each in accepted
            )
            if not progress.left:
                return
        await asyncio.sleep(1.0)


@asynccontextmanager
async def _watched(programs: Sequence[Program]) -> AsyncIterator[list[Disturbance]]:
    """Restarts programs that end by themselves; records when this process or a program was stalled or starved of CPU."""
    stalls: list[Disturbance] = []
    tasks = [asyncio.create_task(_watch_stalls(stalls))]
    for each in programs:
        tasks += [asyncio.create_task(each.watch()), asyncio.create_task(_watch_starvation(each, stalls))]
    try:
        yield stalls
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch_stalls(stalls: list[Disturbance]) -> None:
    before = now()
    while True:
        await asyncio.sleep(_TICK)
        after = now()
        if after - before > _TICK + _STALL_SECONDS:
            stalls.append(Disturbance("stall of the campaign", before, after))
        before = after


async def _watch_starvation(program: Program, stalls: list[Disturbance]) -> None:
    """On a busy machine workers may lose visibility timeouts and repeat (docs/processes.md); on a busier one timeouts are the machine's."""
    before, waited = now(), program.waited_for_cpu()
    while True:
        await asyncio.sleep(_STARVATION_TICK)
        after, waits = now(), program.waited_for_cpu()
        share = (waits - waited) / (after - before)
        if share > _STARVED_SHARE:
            what = STALL if share > _STALLED_SHARE else "starvation"
            stalls.append(Disturbance(f"{what} of {program.name}", before, after))
        before, waited = after, waits


async def _dead_letters(made: World, evidence: Evidence) -> list[DeadLetter]:
    """All dead letters; waits a few seconds for missing ones."""
    found: list[DeadLetter] = []
    for _ in range(4):
        _, out = await made.command(
            "dead-letters", "list", "--oldest-first", *made.store, "--limit", _LIMIT, "--output", "ndjson"
        )
        found = [_dead_letter(orjson.loads(line)) for line in out.splitlines()]
        listed = {dead_letter.token for dead_letter in found}
        ended = {token for token, requests in evidence.by_token.items() if not any(each.delivered for each in requests)}
        if ended <= listed:
            break
        await asyncio.sleep(2.0)
    return found


def _dead_letter(item: Mapping[str, Any]) -> DeadLetter:
    envelope = item.get("envelope") or {}
    made = datetime.fromisoformat(item["deadLetteredAt"]).timestamp()
    token = (envelope.get("body") or {}).get("content") or ""
    return DeadLetter(
        str(token), item["id"], item.get("messageId") or "", item["subject"], item["reason"], item["attempts"], made
    )


async def _with_samples(made: World, evidence: Evidence, seed: int) -> Evidence:
    """Adds the results of the real commands for a sample of dead letters, and of the ledger where it is exact."""
    chance = random.Random(f"{seed}/sample")
    known = {each.message.token: each for each in evidence.sendings}
    dead_letters = [each for each in evidence.dead_letters if each.token in known and each.token in evidence.by_token]
    not_listed: dict[str, str] = {}
    not_traced: list[str] = []
    for dead_letter in chance.sample(dead_letters, min(_SAMPLED, len(dead_letters))):
        if (moment := given_up_at(evidence, known[dead_letter.token])) is not None:
            since = datetime.fromtimestamp(possible_times(evidence, moment)[0] - 3, UTC).isoformat(timespec="seconds")
            flags = ("--since", since, "--subject", dead_letter.subject, "--limit", _LIMIT, "--output", "json")
            _, out = await made.command("dead-letters", "list", *made.store, *flags)
            if dead_letter.token not in out:
                not_listed[dead_letter.token] = since
        code, out = await made.command(
            "trace", dead_letter.message_id or dead_letter.id, *made.store, "--output", "json"
        )
        if code or dead_letter.subject not in out:
            not_traced.append(dead_letter.token)
    ledger: Mapping[str, Any] | None = None
    if made.backend == "embedded":
        _, out = await made.command("ledger", *made.store, "--output", "json")
        ledger = orjson.loads(out)
    return replace(evidence, not_listed=not_listed, not_traced=not_traced, ledger=ledger)


def keep(folder: Path, evidence: Evidence) -> None:
    """Writes the evidence beside the target's recording, so that it can be judged again."""
    with contextlib.suppress(OSError):
        document = {
            "dead_letters": [
                {name: getattr(each, name) for name in DeadLetter.__slots__} for each in evidence.dead_letters
            ],
            "disturbances": [
                {name: getattr(each, name) for name in Disturbance.__slots__} for each in evidence.disturbances
            ],
        }
        (folder / "evidence.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
