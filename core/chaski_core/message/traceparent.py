"""The `traceparent` of a message, by W3C Trace Context section 3.2 (https://www.w3.org/TR/trace-context/#traceparent-header)."""

import re

_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"  # trace id, parent id, flags; all zeros is no id
_TRACEPARENT = re.compile(rf"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-[!-~]{{0,160}})?")


def valid_traceparent(value: object) -> str | None:
    """The text where it is a `traceparent`, else None: a broken one is ignored (section 3.2.2).

    Version 00 has 55 characters exactly, `ff` is not valid, and later versions may have more after a further hyphen:
    visible ASCII, of which 160 characters are taken.
    """
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None
