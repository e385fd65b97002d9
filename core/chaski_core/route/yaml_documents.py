"""YAML as kubectl reads it: YAML 1.1 with `y`, `n`, `on` and `off`, several documents a file, no duplicate keys.

Scalars follow kubectl's Go library (go.yaml.in/yaml/v2, resolve.go): dates and base-60 numbers stay text, `010` is eight.
Every error names its line.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from chaski_core.errors import FieldError, InvalidRouteError

_MAX_NODES = 50_000  # counting each use of an alias, so that a small text can't become a huge document
_MAX_DEPTH = 64
_TAG = "tag:yaml.org,2002:"
_PLAIN = "!plain"
_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_OCTAL = re.compile(r"[-+]?0[0-7]+\Z")
_INTEGER = re.compile(r"[-+]?(0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_JSON = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """Leaves plain scalars unresolved; `_Reader` resolves them by kubectl's rules."""

    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 - PyYAML's own protocol


def numbered(errors: Iterable[FieldError], number: int) -> list[FieldError]:
    """The errors of one document of several, with its number."""
    return [FieldError(f"document {number}: {error.field}".removesuffix(": "), error.message) for error in errors]


def read_documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML (or JSON) text, without empty ones.

    Raises:
        InvalidRouteError: the text is not YAML, or not allowed in a manifest; each error names its line.
    """
    try:
        nodes = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise InvalidRouteError([FieldError("", f"{line}not valid YAML: {error.problem or error.context}")]) from error
    except yaml.YAMLError as error:
        raise InvalidRouteError([FieldError("", f"not valid YAML: {error}")]) from error
    reader = _Reader()
    values = [(node, reader.value(node, 0)) for node in nodes]
    for node, value in values:
        if value is not None and not isinstance(value, dict):
            reader.add_error(node, "a document must be a mapping with apiVersion, kind, metadata and spec")
    if reader.errors:
        raise InvalidRouteError(reader.errors)
    return [value for _, value in values if value is not None]


class _Reader:
    """Converts nodes to values and collects their errors."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self._nodes = 0

    def add_error(self, node: yaml.Node, message: str) -> None:
        """Adds an error at a node's line."""
        self.errors.append(FieldError("", f"line {node.start_mark.line + 1}: {message}"))

    def value(self, node: yaml.Node, depth: int) -> Any:
        """The value of a node; None for a faulty one.

        Raises:
            InvalidRouteError: the document is too large.
        """
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            self.add_error(node, "too large or too deep for a manifest")
            raise InvalidRouteError(self.errors)  # ends the walk
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return self._scalar(node.tag, node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _PLAIN and key_node.value == "<<":
                for source in self._merge_sources(value_node, depth):
                    merged = {**source, **merged}
                continue
            key = self._key(key_node, depth)
            if key in own:
                self.add_error(key_node, f'the key "{key}" is a duplicate')
            own[key] = self.value(value_node, depth + 1)
        return {**merged, **own}

    def _merge_sources(self, node: yaml.Node, depth: int) -> Iterator[dict[str, Any]]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(source, depth + 1)
            if isinstance(value, dict):
                yield value
            else:
                self.add_error(source, "<< needs a mapping")

    def _key(self, node: yaml.Node, depth: int) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self.add_error(node, "a key must be text")
            return ""
        key = self.value(node, depth)
        if isinstance(key, bool):
            return "true" if key else "false"  # as kubectl sends it
        if key is None:
            self.add_error(node, "a key must be text")
        return str(key)

    def _scalar(self, tag: str, node: yaml.Node) -> Any:
        text: str = node.value
        if tag in {"!", _TAG + "str"}:
            return text
        if tag != _PLAIN and tag not in {_TAG + name for name in ("null", "bool", "int", "float")}:
            self.add_error(node, f"the tag {tag.replace(_TAG, '!!')} is not allowed in a manifest")
            return None
        if _NOT_JSON.match(text):
            self.add_error(node, f"JSON can't represent the number {text}")
            return None
        return _plain(text)


def _plain(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    digits = text.replace("_", "") if text[0] in "+-.0123456789" else text
    if _OCTAL.match(digits):
        return int(digits, 8)
    if _INTEGER.match(digits):
        return int(digits, 0)
    if _FLOAT.match(digits):
        number = float(digits)
        return int(number) if number.is_integer() else number
    return text
