"""The demo's result as tables."""

from collections.abc import Mapping

from rich.console import Console, Group
from rich.text import Text

from chaski_cli.demo.experiment import (
    EXPECTED,
    EXPECTED_ACCEPTED,
    EXPECTED_FAILED_RETRIES,
    Result,
    Row,
    total,
)
from chaski_cli.output import TextTable, table

_NONE = Row(0, 0, 0, 0)
_NAMES = {"timeout": "no response (timeout)"}


def print_result(console: Console, result: Result, seconds: float) -> None:
    """Prints the figures, with wrong ones marked."""
    console.print(Group(_table(result), Text(), _metrics(result), Text()))
    order = "yes" if result.first_attempts_in_order else "NO"
    console.print(f"first attempts reached the target in the order sent: {order}")
    if result.exact:
        console.print(f"[green]exact[/]: every figure is as expected ({seconds:.0f} s)")
    else:
        console.print("[red]not exact[/]: figures in red are wrong; the expected value is in brackets")


def _table(result: Result) -> TextTable:
    expected = {**EXPECTED, "sum": total(EXPECTED.values())}
    found = {**result.rows, "sum": result.total}
    return table(
        ("response", "messages", "retries", "requests", "dead letters"),
        [(_NAMES.get(name, name), *_cells(row, expected.get(name, _NONE))) for name, row in found.items()],
        right=("messages", "retries", "requests", "dead letters"),
    )


def _metrics(result: Result) -> TextTable:
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
        (name.format(label), _figure(values.get(label, 0), expected.get(label, 0)))
        for name, values, expected in listed
        for label in sorted({*values, *expected})
    ]
    return table(("metric", "value"), lines, right=("value",))


def _cells(row: Row, expected: Row) -> tuple[Text, ...]:
    pairs = zip(row.as_json().values(), expected.as_json().values(), strict=True)
    return tuple(_figure(found, right) for found, right in pairs)


def _figure(found: int, expected: int) -> Text:
    return Text(str(found)) if found == expected else Text(f"{found} ({expected})", style="red")
