"""Rules are evaluated as by the API server, and their faults are located at their entry."""

from collections.abc import Mapping
from typing import Any

import pytest

from chaski_core.errors import FieldError
from chaski_core.route.validation.rules import _compiled, _walk


def _schema(rule: Mapping[str, str]) -> dict[str, Any]:
    """An object with entries that have names, and one rule about it."""
    names = {"type": "array", "items": {"type": "string"}}
    entries = {"type": "array", "items": {"type": "object", "properties": {"names": names, "n": {"type": "integer"}}}}
    properties = {"entries": entries, "known": names, "n": {"type": "integer"}}
    return {"type": "object", "properties": properties, "x-kubernetes-validations": [rule]}


def _faults(rule: Mapping[str, str], value: Any, old: Any = None) -> list[FieldError]:
    """The faults of a value by one rule."""
    return list(_walk(_compiled(_schema(rule)), value, old, ("spec",), []))


_KNOWN = {
    "rule": "self.entries.all(e, e.names.all(n, n in self.known))",
    "fieldPath": ".entries",
    "messageExpression": "'%s?'.format([self.entries.filter(e, e.names.exists(n, !(n in self.known)))[0].names"
    ".filter(n, !(n in self.known))[0]])",
}


def test_faults_in_nested_lists_are_all_located() -> None:
    """Each has its own place and its own message."""
    value = {"known": ["a"], "entries": [{"names": ["a"]}, {"names": ["b", "a", "c"]}, {"names": ["d"]}]}
    assert _faults(_KNOWN, value) == [
        FieldError("spec.entries[1].names[0]", "b?"),
        FieldError("spec.entries[1].names[2]", "c?"),
        FieldError("spec.entries[2].names[0]", "d?"),
    ]


def test_the_fault_of_an_entry_is_located_at_the_entry() -> None:
    """The entry fails even with empty lists."""
    rule = {"rule": "self.entries.all(e, e.n < 5)", "fieldPath": ".entries", "message": "too much"}
    value = {"entries": [{"n": 1, "names": ["x"]}, {"n": 9, "names": ["x"]}]}
    assert _faults(rule, value) == [FieldError("spec.entries[1]", "too much")]


def test_the_fault_of_neighbours_is_located_at_the_later_one() -> None:
    """No entry fails alone; the first failing pair is the place."""
    rule = {"rule": "self.entries.map(e, e.n).isSorted()", "fieldPath": ".entries", "message": "disorder"}
    value = {"entries": [{"n": 1}, {"n": 5}, {"n": 2}]}
    assert _faults(rule, value) == [FieldError("spec.entries[2]", "disorder")]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("self.entries.exists(e, e.n == 1)", {"entries": [{"n": 2}, {"n": 3}]}),
        ("self.entries.size() != 3", {"entries": [{"n": 1}, {"n": 2}, {"n": 3}]}),
    ],
    ids=["an-entry-is-missing", "no-pair-fails"],
)
def test_the_fault_of_a_whole_list_is_located_at_the_list(rule: str, value: Any) -> None:
    """No single entry is its cause."""
    assert _faults({"rule": rule, "fieldPath": ".entries", "message": "no"}, value) == [
        FieldError("spec.entries", "no")
    ]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"messageExpression": "'  n is ' + 'bad '"}, "n is bad"),
        ({"messageExpression": "''", "message": "plain"}, "plain"),
        ({"messageExpression": "'a\\nb'", "message": "plain"}, "plain"),
        ({"messageExpression": "self.missing", "message": "plain"}, "plain"),
        ({}, "failed rule: self.n < 5"),
    ],
    ids=["trimmed", "empty", "two-lines", "no-value", "none"],
)
def test_the_message_is_chosen_as_the_api_server_does(raw: dict[str, str], message: str) -> None:
    """The expression's text, else the message, else the rule."""
    assert _faults({"rule": "self.n < 5", "fieldPath": ".n", **raw}, {"n": 7}) == [FieldError("spec.n", message)]


def test_rules_about_changes_need_something_to_compare_with() -> None:
    """A rule with oldSelf is skipped for a new object and evaluated for a change."""
    rule = {"rule": "self.n == oldSelf.n", "messageExpression": "'%d, not %d'.format([oldSelf.n, self.n])"}
    assert _faults(rule, {"n": 1}) == []
    assert _faults(rule, {"n": 1}, {"n": 1}) == []
    assert _faults(rule, {"n": 1}, {"n": 2}) == [FieldError("spec", "2, not 1")]


def test_entries_of_a_list_map_are_compared_by_their_key() -> None:
    """A rule about changes in a list-map compares entries of the same key; it skips a new entry."""
    item = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "shrinks"}],
    }
    schema = {"type": "array", "items": item, "x-kubernetes-list-map-keys": ["name"]}
    new = [{"name": "b", "n": 1}, {"name": "c", "n": 0}, {"name": "a", "n": 5}]
    old = [{"name": "a", "n": 1}, {"name": "b", "n": 2}]
    assert list(_walk(_compiled(schema), new, old, ("l",), [])) == [FieldError("l[0]", "shrinks")]


def test_a_rule_over_a_place_that_the_schema_refuses_is_skipped() -> None:
    """It could fail unexpectedly; rules about other places are evaluated."""
    schema = {"type": "object", "properties": {"a": _schema(_KNOWN), "b": _schema(_KNOWN)}}
    bad = {"known": [], "entries": [{"names": ["x"]}]}
    faults = list(_walk(_compiled(schema), {"a": bad, "b": bad}, None, (), [("a", "known")]))
    assert faults == [FieldError("b.entries[0].names[0]", "x?")]


def test_a_rule_that_can_not_be_evaluated_is_a_fault() -> None:
    """An evaluation error refuses the object, as in the API server."""
    (fault,) = _faults({"rule": "self.n < self.missing"}, {"n": 1})
    assert fault.field == "spec"
    assert fault.message.startswith("can't be evaluated: ")
