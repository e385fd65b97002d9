"""Runs `chaski validate`."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from chaski_cli.errors import Exit
from chaski_cli.output import emit_json, fault_lines, printable, stdout
from chaski_cli.routes import Checked, check


def run_validate(paths: Sequence[Path], *, as_json: bool) -> Exit:
    """Prints what is wrong with each file."""
    files = check(paths)
    if as_json:
        emit_json([checked.as_json() for checked in files], indented=True)
    else:
        for checked in files:
            stdout().print(_told(checked), soft_wrap=True)
    return Exit.WRONG_INPUT if any(checked.faults for checked in files) else Exit.OK


def _told(checked: Checked) -> Text:
    name = printable(str(checked.path))
    if not checked.faults:
        return Text.assemble(f"{name}: ", ("valid", "green"), f" ({', '.join(route.key for route in checked.routes)})")
    count = "1 fault" if len(checked.faults) == 1 else f"{len(checked.faults)} faults"
    return Text.assemble(f"{name}: ", (count, "red"), f"\n{fault_lines(checked.faults)}")
