"""The headers that a message may not set, and their spellings."""

from pathlib import Path

import pytest

from chaski_core.message.http_rules import header_errors
from chaski_core.message.refused_headers import TABLE, normalized, refusal_reason, table_lines

DOCS = Path(__file__).resolve().parents[4] / "docs"
NAMES = [(name, row.reason) for row in TABLE for name in row.names]


def spellings(name: str) -> list[str]:
    """Of one name, which a CGI or WSGI application sees as the same variable."""
    full = name.replace("*", "anything")
    return [full, full.upper(), full.replace("-", "_"), full.title().replace("-", "_"), full.replace("-", "_", 1)]


@pytest.mark.parametrize(("name", "reason"), NAMES)
def test_every_spelling_of_a_refused_header_is_refused(name: str, reason: str) -> None:
    """With the reason of its row, at ingest and at the worker."""
    for spelling in spellings(name):
        [fault] = header_errors([(spelling, "x")])
        assert (fault.field, fault.message) == (f"body.headers.{spelling}", f"can't be set: {reason}")


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "X_Y", "X-Forwarded_", "Proxy"),
        *("X-Api-Key", "CF-Access-Client-Id", "x-vercel-protection-bypass", "traceparent", "X-Hub-Signature-256"),
        *("X-Host-Name", "Idempotency-Key", "Content_Type", "X-Client-Id", "Client-Id", "Hosts", "X-Request-Id"),
    ],
)
def test_only_the_names_of_the_table_are_refused(name: str) -> None:
    """Prefixes only where the table has them."""
    refused = {"X-Forwarded_", "Proxy"}
    assert (refusal_reason(name) is not None) == (name in refused)


def test_no_row_is_hidden_by_another() -> None:
    """Each name has one reason, and is written as it is compared."""
    names = [name for name, _ in NAMES]
    assert len(set(names)) == len(names)
    assert [name for name in names if name != normalized(name)] == []
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    assert [name for name in names if not name.endswith("*") and name.startswith(prefixes)] == []
    assert all(row.source for row in TABLE)


def test_the_documentation_has_the_same_table() -> None:
    """Line for line."""
    assert "\n".join(table_lines()) in (DOCS / "http-api.md").read_text(encoding="utf-8")
