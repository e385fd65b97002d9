"""Values that are made anew for every message.

A frozen dataclass pays for each field that it is made with ten times what a plain one does: with the dozen values that
a delivery makes that was a tenth of its whole time. These are frozen for the type checker, which every change passes,
and plain when they run. For what is made seldom, `dataclass(frozen=True)` is right.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def message_value(kind: type[T]) -> type[T]:
    """A class decorator: as `dataclass(frozen=True, slots=True)`, but checked instead of enforced."""
    return dataclass(slots=True, unsafe_hash=True)(kind)
