"""The demo's result for people."""

from collections.abc import Mapping

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from chaski_cli.demo.experiment import (
    EXPECTED,
    EXPECTED_ACCEPTED,
    EXPECTED_FAILED_RETRIES,
    Result,
    Row,
    total,
)
from chaski_cli.output import table

_NONE = Row(0, 0, 0, 0)
_NAMES = {"timeout": "nothing (timeout)"}


def show(console: Console, result: Result, seconds: float) -> None:
    """Prints table, metrics and verdict."""
    console.print(Group(_table(result), Text(), _metrics(result), Text()))
    order = "yes" if result.first_attempts_in_order else "NO"
    console.print(f"first attempts reached the target in the order sent: {order}")
    if result.exact:
        console.print(f"[green]exact[/]: every cell is what it must be ({seconds:.0f} s)")
    else:
        console.print("[red]not exact[/]: cells in red are wrong, what they must be is in brackets")


def _table(result: Result) -> Table:
    wanted = {**EXPECTED, "sum": total(EXPECTED.values())}
    found = {**result.rows, "sum": result.total}
    return table(
        ("endpoint answers", "messages", "retries", "requests", "dead letters"),
        [(_NAMES.get(name, name), *_cells(row, wanted.get(name, _NONE))) for name, row in found.items()],
        right=("messages", "retries", "requests", "dead letters"),
    )


def _metrics(result: Result) -> Table:
    found = result.metrics
    listed: list[tuple[str, Mapping[str, int], Mapping[str, int]]] = [
        ('chaski_messages_accepted_total{{subject_group="{}"}}', found.accepted, EXPECTED_ACCEPTED),
        (
            'chaski_attempts_total{{stage="retry", outcome="failed", target="{}"}}',
            found.failed_retries,
            EXPECTED_FAILED_RETRIES,
        ),
    ]
    lines = [
        (name.format(label), _figure(values.get(label, 0), wanted.get(label, 0)))
        for name, values, wanted in listed
        for label in sorted({*values, *wanted})
    ]
    return table(("metric", "value"), lines, right=("value",))


def _cells(row: Row, wanted: Row) -> tuple[Text, ...]:
    pairs = zip(row.as_json().values(), wanted.as_json().values(), strict=True)
    return tuple(_figure(found, right) for found, right in pairs)


def _figure(found: int, wanted: int) -> Text:
    return Text(str(found)) if found == wanted else Text(f"{found} ({wanted})", style="red")
