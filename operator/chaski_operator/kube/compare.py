"""Whether an object is as it was applied, whatever the API server and others added to it. Pure.

Asking by server-side apply costs a write request for each object and look, even if it changes nothing.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"([0-9]+(?:[.][0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]+)?")
_POWERS = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix + "i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}  # fmt: skip


def difference(wanted: Any, live: Any, path: str = "") -> str | None:
    """The first place where a live value lacks what is wanted; None where it has all of it.

    Fields that only the live value has are somebody else's. Entries of a list that carry names belong together by
    these; other lists must have the same length.
    """
    if isinstance(wanted, Mapping):
        return _in_mapping(wanted, live, path)
    if isinstance(wanted, list):
        return _in_list(wanted, live, path)
    return None if wanted == live or (".resources." in path and _same_quantity(wanted, live)) else path


def _in_mapping(wanted: Mapping[str, Any], live: Any, path: str) -> str | None:
    if not isinstance(live, Mapping):
        return None if not wanted and live is None else path  # an empty mapping may be left out
    for name, value in wanted.items():
        place = f"{path}.{name}" if path else name
        if (found := difference(value, live.get(name), place)) is not None:
            return found
    return None


def _in_list(wanted: list[Any], live: Any, path: str) -> str | None:
    if not isinstance(live, list):
        return None if not wanted and live is None else path
    if wanted and all(isinstance(each, Mapping) and "name" in each for each in wanted):
        named = {each["name"]: each for each in live if isinstance(each, Mapping) and "name" in each}
        pairs = [(each, named.get(each["name"]), f"{path}[{each['name']}]") for each in wanted]
    elif len(wanted) != len(live):
        return path
    else:
        pairs = [
            (each, other, f"{path}[{index}]") for index, (each, other) in enumerate(zip(wanted, live, strict=True))
        ]
    return next((found for each, other, at in pairs if (found := difference(each, other, at)) is not None), None)


def _same_quantity(wanted: Any, live: Any) -> bool:
    """Whether two spellings of a quantity mean the same: the API server stores `0.5` as `500m`."""
    first, second = _quantity(wanted), _quantity(live)
    return first is not None and first == second


def _quantity(value: Any) -> Decimal | None:
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        return None
    number, suffix = Decimal(found.group(1)), found.group(2) or ""
    return number * (_POWERS[suffix] if suffix in _POWERS else Decimal(10) ** int(suffix[1:]))
