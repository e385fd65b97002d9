"""Validation of a whole document by a definition: its schema, then its rules."""

from collections.abc import Mapping
from typing import Any

from chaski_core.errors import FieldError
from chaski_core.route.validation.crd import ROUTES
from chaski_core.route.validation.rules import rule_errors
from chaski_core.route.validation.schema import schema_errors


def document_errors(
    full: Mapping[str, Any], old: Mapping[str, Any] | None = None, plural: str = ROUTES
) -> list[FieldError]:
    """All errors of a document.

    Args:
        full: the document with defaults (`crd.with_defaults`).
        old: the replaced document with defaults; None: it is a new one.
        plural: of the definition.
    """
    structural = schema_errors(full, plural)
    blocked = [error.path for error in structural if error.blocking]
    return [*(error.as_field_error() for error in structural), *rule_errors(full, old, blocked, plural)]
