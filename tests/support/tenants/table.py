"""The list of actions as a table, which docs/tenants.md has; as a program it writes the page."""

from collections import Counter

from support.cluster.cluster import ROOT
from support.tenants import by_api, by_pod, by_route
from support.tenants.action import Action, Kind

ACTIONS: tuple[Action, ...] = tuple(
    sorted((*by_api.ACTIONS, *by_pod.ACTIONS, *by_route.ACTIONS), key=lambda action: list(Kind).index(action.kind))
)
PAGE = ROOT / "docs" / "tenants.md"
_BEGIN, _END = "in `tests` -->\n", "<!-- end of actions -->\n"


def table() -> str:
    """The actions in Markdown."""
    head = "| | actor | action | refusal | the same by | result |\n|---|---|---|---|---|---|"
    rows = (
        f"| {number} {action.kind} | {action.means} | {action.text} | {action.refusal} | {action.control_text} | {action.permitted} |"
        for number, action in enumerate(ACTIONS, 1)
    )
    return "\n".join((head, *rows))


def totals() -> str:
    """Numbers of actions by kind."""
    counts = Counter(action.kind.value for action in ACTIONS)
    return f"{len(ACTIONS)} actions: " + ", ".join(f"{number} {kind}" for kind, number in counts.items())


def page() -> str:
    """The documentation with the table of today."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    return f"{before}{_BEGIN}{totals()}.\n\n{table()}\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
