"""Runs the `chaski subjects` commands."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from chaski_cli.output import TextTable, age, emit_result, stdout, table
from chaski_cli.subjects.store import SubjectStore, open_store
from chaski_cli.subjects.waiting import Held, Waiting, waiting_subjects
from chaski_core.ports import MAX_CONTROL_RECORDS, VisibilityChange
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_core.route.model import Ordering, Route
from chaski_core.timestamps import timestamp
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_LIST = "show what waits: chaski subjects list"
_HELD = {Held.PERSON: "release, held", Held.EXHAUSTED: "a decision, exhausted"}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided, as given on the command line."""

    action: ControlAction | None  # None: to release
    subject: str
    message_id: str | None  # None: the message at the head
    as_json: bool


def run_list(location: BackendLocation, output: str) -> ExitCode:
    """Shows the subjects that wait, of all routes or of one. `output`: table, wide or json."""

    async def show(store: SubjectStore) -> ExitCode:
        routes = [each.route for key, each in store.routes.items() if location.route in (None, key)]
        found = [each for route in routes for each in await _waiting(store, route)]
        if output == "json":
            emit_result({"subjects": [each.as_json() for each in found]}, indented=True)
        else:
            tables = {"table": _table, "wide": _wide_table}
            stdout().print(tables[output](found) if found else Text("no subject waits"))
        return ExitCode.OK

    return _run(location, show)


def run_decision(location: BackendLocation, decision: Decision) -> ExitCode:
    """Stores what a person decided, and makes the head visible where that is possible.

    Raises:
        CommandError: the subject does not wait, its head is unknown, or too many decisions are open.
    """

    async def decide(store: SubjectStore) -> ExitCode:
        route = _route(store, location.route)
        found = [each for each in await _waiting(store, route) if each.subject == decision.subject]
        if decision.action is None:
            record, shown = await _release(store, found, decision), None
        else:
            record = await _store(store, route, found, decision, decision.action)
            shown = await _show(store, found, record)
        _print_result(route, decision, record, shown)
        return ExitCode.OK

    return _run(location, decide)


def _run(location: BackendLocation, act: Callable[[SubjectStore], Awaitable[ExitCode]]) -> ExitCode:
    async def opened() -> ExitCode:
        async with open_store(location) as store:
            return await act(store)

    with asyncio.Runner() as runner:
        return runner.run(opened())


def _route(store: SubjectStore, name: str | None) -> Route:
    if name is not None:
        return store.routes[name].route
    if len(store.routes) == 1:
        return next(iter(store.routes.values())).route
    names = ", ".join(sorted(store.routes)) or "none"
    raise wrong_input(f"--route is missing: there are {len(store.routes)} routes", f"give one of: {names}")


async def _waiting(store: SubjectStore, route: Route) -> list[Waiting]:
    heads = [each async for each in store.heads.hidden(route.key)] if route.ordering is Ordering.STRICT else []
    return waiting_subjects(route, heads, await store.controls.read(route.key))


async def _release(store: SubjectStore, found: Sequence[Waiting], decision: Decision) -> ControlRecord:
    held = next((each for each in found if each.held is not None), None)
    if held is None:
        raise wrong_input(f"subject {decision.subject} is not held", _LIST)
    if held.held is Held.EXHAUSTED:
        raise wrong_input(
            f"subject {decision.subject} is held because the retries of its message {held.message_id} have ended",
            "decide with: chaski subjects retry-now, or skip",
        )
    record = ControlRecord(held.route, decision.subject, ControlAction.HOLD, held.held_since or 0)
    await store.controls.remove(record)
    return record


async def _store(
    store: SubjectStore, route: Route, found: Sequence[Waiting], decision: Decision, action: ControlAction
) -> ControlRecord:
    message_id = "" if action is ControlAction.HOLD else decision.message_id or _head(route, found, decision)
    head = next((each for each in found if each.message_id == message_id), None)
    attempts = None
    if action is ControlAction.RETRY_NOW and route.ordering is Ordering.STRICT:
        attempts = (head.attempts if head is not None else None) or 0  # without a record it was not attempted
    record = ControlRecord(route.key, decision.subject, action, SystemClock().now_ms(), message_id, attempts)
    if len(await store.controls.read(route.key)) >= MAX_CONTROL_RECORDS:
        raise CommandError(
            f"{MAX_CONTROL_RECORDS} decisions about {route.key} are open, and no more are accepted",
            next_step="release subjects, or wait until workers have applied them",
        )
    await store.controls.write(record)
    return record


def _head(route: Route, found: Sequence[Waiting], decision: Decision) -> str:
    heads = [each.message_id for each in found if each.record is not None and each.message_id is not None]
    if len(heads) == 1:
        return heads[0]
    if route.ordering is Ordering.RELAXED:
        raise wrong_input(
            f"--message is missing: {route.key} is Relaxed, so no message holds its subject", "give --message ID"
        )
    if len(heads) > 1:  # the record of one that was delivered could not be deleted
        raise wrong_input(f"--message is missing: subject {decision.subject} has several: {', '.join(heads)}", _LIST)
    raise wrong_input(
        f"no attempt of a message at the head of subject {decision.subject} has failed",
        f"{_LIST}; or give --message ID for a message that was not attempted yet",
    )


async def _show(store: SubjectStore, found: Sequence[Waiting], record: ControlRecord) -> bool | None:
    """Makes the head that a record means visible; whether that succeeded, None where its place is unknown."""
    head = next((each.record.head for each in found if each.record and each.message_id == record.message_id), None)
    if head is None:
        return None
    if head.until <= SystemClock().now_ms():
        return True  # it is visible again, or an attempt is under way
    (failed,) = await store.queue(head.queue_url).change_visibility([VisibilityChange(head.receipt_handle, 0)])
    return failed is None


def _print_result(route: Route, decision: Decision, record: ControlRecord, shown: bool | None) -> None:
    action = "release" if decision.action is None else decision.action.value
    if decision.as_json:
        values = {"route": route.key, "subject": decision.subject, "action": action}
        emit_result(values | {"messageId": record.message_id or None, "visible": shown})
        return
    what = f"subject {decision.subject}" + (f", message {record.message_id}" if record.message_id else "")
    later = "; its queue refused to make it visible, so this applies when it is received next" if shown is False else ""
    stdout().print(Text(f"{action}: {what}{later}"))


def _table(found: Sequence[Waiting]) -> TextTable:
    """A usual row has 80 columns."""
    now_ms = SystemClock().now_ms()
    rows = [(each.message_id or "-", _waits_for(each, now_ms), each.subject) for each in found]
    return table(("message", "waits for", "subject"), rows, cut=("subject",))


def _waits_for(each: Waiting, now_ms: int) -> str:
    if each.decision is not None:
        return f"{each.decision.action}, decided {age(each.decision.at, now_ms)} ago"
    if each.held is not None:
        return f"{_HELD[each.held]} {age(each.held_since or 0, now_ms)}"
    if each.due_at is None:
        return "-"
    return f"retry in {age(now_ms, each.due_at)}" if each.due_at > now_ms else "retry now"


def _wide_table(found: Sequence[Waiting]) -> TextTable:
    columns = ("route", "subject", "message", "attempts", "rung", "due", "held", "decision", "last error")
    return table(columns, [_row(each) for each in found], right=("attempts",))


def _row(each: Waiting) -> tuple[object, ...]:
    errors = each.record.state.errors if each.record is not None else ()
    due = "" if each.due_at is None else timestamp(each.due_at)
    held = "" if each.held is None else f"{each.held} since {timestamp(each.held_since or 0)}"
    decision = "" if each.decision is None else each.decision.action.value
    error = f"{errors[-1].key}: {errors[-1].detail}" if errors else ""
    attempts = "" if each.attempts is None else each.attempts
    return each.route, each.subject, each.message_id or "", attempts, each.rung or "", due, held, decision, error
