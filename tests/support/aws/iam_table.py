"""The table of actions in docs/iam/actions.md."""

import re
from pathlib import Path

_FILE = Path(__file__).resolve().parents[3] / "docs" / "iam" / "actions.md"


def rows() -> dict[str, list[str]]:
    """The rows by action: roles, resource types, condition keys, each separated by commas."""
    lines = _FILE.read_text("utf-8").splitlines()
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if re.match(r"(sqs|dynamodb):", row[0])}
