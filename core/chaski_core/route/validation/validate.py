"""Whether a document is a ChaskiRoute that the API server would take, and everything that is wrong with it if not.

Nothing about the route is written down here: the schema and the rules are those of `crds/chaskiroutes.yaml`.
"""

from collections.abc import Mapping
from typing import Any

from chaski_core.errors import FieldError
from chaski_core.route.validation.crd import GROUP_VERSION, KIND, with_defaults
from chaski_core.route.validation.rules import rule_faults
from chaski_core.route.validation.schema import schema_faults


def validate(document: Mapping[str, Any]) -> list[FieldError]:
    """Everything that is wrong with a new ChaskiRoute; empty if nothing is."""
    return _faults(document, None)


def validate_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldError]:
    """Everything that is wrong with a ChaskiRoute that is to replace a valid one, immutable fields included."""
    return _faults(new, with_defaults(old))


def _faults(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    kind = _kind_faults(document)
    if kind:
        return kind  # some other thing; what it holds says nothing
    full = with_defaults(document)
    structural = schema_faults(full)
    blocked = [fault.path for fault in structural if fault.blocking]
    return [*(fault.as_fault() for fault in structural), *rule_faults(full, old, blocked)]


def _kind_faults(document: Mapping[str, Any]) -> list[FieldError]:
    wanted = {"apiVersion": GROUP_VERSION, "kind": KIND}
    return [
        FieldError(
            field, f'must be {value}, not "{document[field]}"' if field in document else f"is missing; it is {value}"
        )
        for field, value in wanted.items()
        if document.get(field) != value
    ]
