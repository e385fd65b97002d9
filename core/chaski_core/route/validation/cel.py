"""The language of rules: CEL, with the functions of Kubernetes that the ChaskiRoute's rules use.

Rules in the definition may use only these functions and those of CEL itself, so that they mean the same in the API server.
Functions: https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries
"""

import ipaddress
import itertools
import re
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

import re2


def _evaluator() -> ModuleType:
    """The compiled module of the package `cel`, which has all its public names (`compile`, `Context`).

    The package itself also imports its interactive command line, with prompt_toolkit, Pygments and rich: 13 MiB and 0.1 s of CPU
    in every process that reads a route. A later `import cel` uses this module too.
    """
    name = "cel.cel"
    if name in sys.modules:
        return sys.modules[name]
    package = find_spec("cel")
    spec = PathFinder.find_spec(name, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:  # a release with other modules
        import cel  # noqa: PLC0415 - only then

        return cel
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_cel = _evaluator()
_QUIETLY = re2.Options()
_QUIETLY.log_errors = False  # to stderr
_TOO_LARGE = "pattern too large"


class RuleError(Exception):
    """An expression can't be evaluated."""


# Kubernetes' escapes of CEL's keywords.
_ESCAPED = re.compile(r"\b__(namespace|in|for|if|import|package|return|var)__\b")


class Expression:
    """A compiled CEL expression. Raises ValueError for an invalid text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._program = _cel.compile(_ESCAPED.sub(r"\1", text))

    def value(self, variables: Mapping[str, Any]) -> Any:
        """The expression's value.

        Raises:
            RuleError: for example a key is missing or a type does not match.
        """
        context = _cel.Context(variables=dict(variables), functions=dict(_FUNCTIONS))
        try:
            return self._program.execute(context)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            raise RuleError(str(error)) from error


def _format(text: str, values: list[Any]) -> str:
    rest = iter(values)
    return re.sub("%[sd]", lambda _: _formatted(next(rest)), text)


def _formatted(value: Any) -> str:
    return f"[{', '.join(map(_formatted, value))}]" if isinstance(value, list) else str(value)


def _is_sorted(values: list[Any]) -> bool:
    return all(one <= other for one, other in itertools.pairwise(values))


def _find(text: str, pattern: str) -> str:
    """The first match, or "". An invalid pattern is an error in Kubernetes; here it is returned as if it matched.

    A pattern that takes more than 8 MiB when compiled is valid: Go, in which the API server is written, has no such limit.
    """
    try:
        found = re2.compile(pattern, _QUIETLY).search(text)
    except re2.error as error:
        return "" if _TOO_LARGE in str(error) else pattern
    return found.group() if found else ""


def _find_all(text: str, pattern: str) -> list[str]:
    return [match.group() for match in re2.finditer(pattern, text)]


_PREFIX = re.compile(r"[0-9A-Fa-f:.]+/(0|[1-9][0-9]{0,2})\Z")


def _is_cidr(text: str) -> bool:
    """As Go's netip.ParsePrefix, without IPv4-mapped IPv6 addresses (k8s.io/apiserver/pkg/cel/library/cidr.go)."""
    if not _PREFIX.match(text):
        return False
    try:
        address = ipaddress.ip_interface(text).ip
    except ValueError:
        return False
    return not (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped)


def _cidr(text: str) -> str:
    return str(ipaddress.ip_interface(text))


def _masked(prefix: str) -> str:
    return str(ipaddress.ip_interface(prefix).network)


# A method's receiver is the function's first argument. A CIDR value is its canonical text.
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "format": _format,
    "isSorted": _is_sorted,
    "sum": sum,
    "max": max,
    "find": _find,
    "findAll": _find_all,
    "isCIDR": _is_cidr,
    "cidr": _cidr,
    "masked": _masked,
}
