"""Tables, and the documents that contain them."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def replaced(document: str, begin: str, end: str, part: str) -> str:
    """A document with what is between two marks replaced.

    Raises:
        ValueError: the document lacks one of the marks.
    """
    before, found_begin, rest = document.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the document has no part between {begin} and {end}")
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"
