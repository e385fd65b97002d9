"""The `traceparent` of a message, by W3C Trace Context section 3.2 (https://www.w3.org/TR/trace-context/#traceparent-header)."""

import re

_IDS = (
    r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"  # trace id, parent id, flags; an id of zeros is invalid
)
_TRACEPARENT = re.compile(rf"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-[!-~]{{0,160}})?")


def valid_traceparent(value: object) -> str | None:
    """The value if it is a valid `traceparent`, else None: an invalid one is ignored (section 3.2.2).

    Version 00 has exactly 55 characters, `ff` is invalid, and later versions may continue after another hyphen: with
    visible ASCII, of which at most 160 characters are accepted.
    """
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None
