"""Validation by rules: the definition's `x-kubernetes-validations`, each error located at its entry.

The API server reports a rule's error at the rule's `fieldPath` and names the first offending value. To report all of
them, with their place, a rule that fails is evaluated again on copies in which the list at `fieldPath` has only one entry,
then on the lists inside that entry likewise; the message is that of the copy, so it names that entry.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from chaski_core.errors import FieldError
from chaski_core.route.validation.cel import Expression, RuleError
from chaski_core.route.validation.crd import ROUTES, schema_of
from chaski_core.route.validation.schema import Path, path_text


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule of a schema node."""

    expression: Expression
    names: tuple[str, ...]  # the fieldPath, relative to the node
    message: str  # "" if only the expression is given
    message_expression: Expression | None
    is_transition: bool  # compares with the old object


@dataclass(frozen=True, slots=True)
class Node:
    """The rules of a schema node and of its parts; parts without rules are left out."""

    rules: tuple[Rule, ...]
    properties: Mapping[str, "Node"]
    items: "Node | None"
    keys: tuple[str, ...]  # of a list-map: they match entries of the old and the new list


@cache
def _rules(plural: str) -> Node:
    return _compiled(schema_of(plural))


def rule_errors(new: Any, old: Any, blocked: Sequence[Path], plural: str = ROUTES) -> list[FieldError]:
    """All breaches of rules.

    Args:
        new: the document with defaults.
        old: the replaced document with defaults, or None: then rules about changes are skipped.
        blocked: places that the schema refuses; rules that can read one of them are skipped.
        plural: of the definition.
    """
    return list(_walk(_rules(plural), new, old, (), blocked))


def _walk(node: Node, new: Any, old: Any, path: Path, blocked: Sequence[Path]) -> Iterator[FieldError]:
    if not any(place[: len(path)] == path for place in blocked):
        for rule in node.rules:
            if not rule.is_transition or old is not None:
                yield from _Case(rule, path, old).errors(new)
    if isinstance(new, dict):
        for name, child in node.properties.items():
            if name in new:
                before = old.get(name) if isinstance(old, dict) else None
                yield from _walk(child, new[name], before, (*path, name), blocked)
    if isinstance(new, list) and node.items is not None:
        for index, item in enumerate(new):
            yield from _walk(node.items, item, _same_entry(node.keys, item, old), (*path, index), blocked)


def _same_entry(keys: tuple[str, ...], item: Any, old: Any) -> Any:
    """The entry of an old list-map with the keys of `item`, or None."""
    if not keys or not isinstance(item, dict) or not isinstance(old, list):
        return None
    wanted = [item.get(key) for key in keys]
    return next(
        (entry for entry in old if isinstance(entry, dict) and [entry.get(key) for key in keys] == wanted), None
    )


# ---- one rule on one value


@dataclass(frozen=True, slots=True)
class _Case:
    rule: Rule
    path: Path  # of the node
    old: Any

    def errors(self, value: Any) -> list[FieldError]:
        """All breaches of the rule by a node's value."""
        try:
            if not self._fails(value):
                return []
            target = _get(value, self.rule.names)
            if not isinstance(target, list):
                return [self._fault(self.rule.names, value)]
            return self._in_list(value, self.rule.names, self.rule.names)
        except RuleError as error:
            return [FieldError(path_text((*self.path, *self.rule.names)), f"can't be evaluated: {error}")]

    def _in_list(self, value: Any, at: Path, shown: Path) -> list[FieldError]:
        """The errors in the list at `at`, which is at `shown` in the whole document."""
        items = _get(value, at)
        if self._fails(_put(value, at, [])):
            return [self._fault(shown, value)]  # about the list as a whole: even an empty one fails
        found = []
        for index, item in enumerate(items):
            alone = _put(value, at, [item])
            if self._fails(alone):
                found += self._in_entry(alone, (*at, 0), (*shown, index))
        for index in range(1, len(items)):
            if not found and self._fails(_put(value, at, items[index - 1 : index + 1])):
                return [self._fault((*shown, index), value)]  # about neighbours, such as an order
        return found or [self._fault(shown, value)]

    def _in_entry(self, value: Any, at: Path, shown: Path) -> list[FieldError]:
        entry = _get(value, at)
        for name, nested in entry.items() if isinstance(entry, dict) else ():
            if isinstance(nested, list) and nested and not self._fails(_put(value, (*at, name), [])):
                return self._in_list(value, (*at, name), (*shown, name))
        return [self._fault(shown, value)]

    def _fails(self, value: Any) -> bool:
        return self.rule.expression.value(self._variables(value)) is not True

    def _fault(self, shown: Path, value: Any) -> FieldError:
        return FieldError(path_text((*self.path, *shown)), self._message(value))

    def _message(self, value: Any) -> str:
        """As the API server: the message expression's text, unless it is missing, empty or has several lines."""
        fallback = self.rule.message or f"failed rule: {self.rule.expression.text}"
        if self.rule.message_expression is None:
            return fallback
        try:
            text = str(self.rule.message_expression.value(self._variables(value))).strip()
        except RuleError:
            return fallback
        return fallback if not text or "\n" in text or "\r" in text else text

    def _variables(self, value: Any) -> dict[str, Any]:
        return {"self": value, "oldSelf": self.old} if self.rule.is_transition else {"self": value}


def _get(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: Path, replacement: Any) -> Any:
    """A copy of a value with a replacement at a path."""
    if not path:
        return replacement
    step, *rest = path
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[step] = _put(value[step], tuple(rest), replacement)  # type: ignore[index]  # a list's step is an index
    return copy


# ---- compiling


_OLD_SELF = re.compile(r"\boldSelf\b")


def _compiled(schema: Mapping[str, Any]) -> Node:
    children = {name: _compiled(child) for name, child in schema.get("properties", {}).items() if name != "status"}
    items = _compiled(schema["items"]) if "items" in schema else None
    return Node(
        rules=tuple(_rule(raw) for raw in schema.get("x-kubernetes-validations", ())),
        properties={name: child for name, child in children.items() if _has_rules(child)},
        items=items if items is not None and _has_rules(items) else None,
        keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
    )


def _has_rules(node: Node) -> bool:
    return bool(node.rules or node.properties or node.items)


def _rule(raw: Mapping[str, str]) -> Rule:
    message = raw.get("messageExpression")
    return Rule(
        expression=Expression(raw["rule"]),
        names=tuple(name for name in raw.get("fieldPath", "").split(".") if name),
        message=raw.get("message", "").strip(),
        message_expression=Expression(message) if message else None,
        is_transition=bool(_OLD_SELF.search(raw["rule"])),
    )
