"""Runs `chaski trace --follow`: prints the attempts of a message in a data folder as they happen."""

import itertools
import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from chaski_cli.output import emit_result, stdout
from chaski_cli.trace.formats import attempts_table, headline, trace_json
from chaski_cli.trace.search import traces_of
from chaski_embedded.storage.reader import State, Trace
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.command_error import ExitCode

_POLL_SECONDS = 0.5


def run_follow(location: BackendLocation, message_id: str, output: str) -> ExitCode:
    """Prints every attempt of an identity or label and each change of its state, until all of its messages have ended.

    Args:
        location: a data folder; a `chaski dev` may be running on it.
        message_id: an identity, or the producer's id.
        output: table, wide, or json: one line for each state of a message.
    """
    shown: Sequence[Trace] = ()
    for found in _polled(location, message_id):
        for trace in changed(shown, found):
            if output == "json":
                emit_result(trace_json(trace))
            else:
                _print(trace, next((each for each in shown if each.message_id == trace.message_id), None), output)
        shown = found
        if all(each.state is not State.PENDING for each in found):
            break
    return ExitCode.OK


def changed(before: Sequence[Trace], now: Sequence[Trace]) -> list[Trace]:
    """The traces that were not there before, or have another state or further attempts."""
    known = set(before)
    return [each for each in now if each not in known]


def _polled(location: BackendLocation, message_id: str) -> Iterator[Sequence[Trace]]:
    for number in itertools.count():
        if number:
            time.sleep(_POLL_SECONDS)
        yield traces_of(location, None, message_id)


def _print(trace: Trace, before: Trace | None, output: str) -> None:
    attempts = trace.attempts[len(before.attempts) if before is not None else 0 :]
    if before is None or before.state is not trace.state:
        stdout().print(headline(trace))
    if attempts:
        stdout().print(attempts_table(attempts, wide=output == "wide", head=before is None or not before.attempts))
    elif before is None:
        stdout().print(Text("no attempts recorded yet"))
