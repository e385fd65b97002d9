"""The index template and the saved searches for the log."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_worker.observability.reporting import AttemptReport, attempt_fields

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "charts" / "chaski" / "files" / "elastic"
TEMPLATE = json.loads((FOLDER / "index-template.json").read_text(encoding="utf-8"))
OBJECTS = [json.loads(line) for line in (FOLDER / "saved-objects.ndjson").read_text(encoding="utf-8").splitlines()]


def mapped(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and types of a mapping."""
    for name, field in properties.items():
        if "properties" in field:
            yield from mapped(field["properties"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field["type"]


FIELDS = dict(mapped(TEMPLATE["template"]["mappings"]["properties"]))


def test_every_field_of_an_attempt_is_indexed_with_its_type() -> None:
    """A number as a number, an id as a keyword."""
    attempt = AttemptReport(
        "n", "r", "q", "retry", 2, 0, "identity", "label", "subject", "POST", "https://a.example:8443/b",
        Outcome(ErrorClass.CLIENT_ERROR, status=404, detail="HTTP 404", target="t", duration_seconds=0.1),
        next="rung fast in 5 s", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", content="hello",
    )  # fmt: skip
    for name, value in attempt_fields(attempt, 0).items():
        expected = {"long", "integer", "short"} if isinstance(value, int) else {"keyword", "text", "date"}
        assert FIELDS[name] in expected, name


def test_saved_searches_use_indexed_fields() -> None:
    """A column of an unknown field would always be empty."""
    searches = [each for each in OBJECTS if each["type"] == "search"]
    assert len(searches) == 3
    for search in searches:
        source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        asked = re.findall(r"([\w.@]+) :", source["query"]["query"])
        assert set(search["attributes"]["columns"]) | set(asked) <= set(FIELDS)


def test_the_documentation_uses_indexed_fields() -> None:
    """In KQL and in aggregations."""
    page = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"([a-z]+\.[a-z.]+) : ", page)) | set(re.findall(r'"field": "([^"]+)"', page))
    assert len(asked) > 5
    assert asked <= set(FIELDS)
