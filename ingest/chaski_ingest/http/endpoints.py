"""From a request's path to what it asks for. A table lookup would do for one path; these hold two names each."""

import functools
from urllib.parse import unquote, urlsplit

from chaski_core.values import message_value

SINGLE = "single"
BATCH = "batch"

_PREFIX = ["", "v1", "routes"]
_KINDS = {"messages": SINGLE, "messages:batch": BATCH}


@message_value
class Endpoint:
    """A route's place to send to."""

    namespace: str
    name: str
    kind: str  # SINGLE | BATCH


@functools.lru_cache(256)  # a process serves few, and a target is at most 8,190 characters
def find_endpoint(target: str) -> Endpoint | str:
    """What a request target (RFC 9112 §3.2) asks for; the path itself, decoded, where there is nothing of ours."""
    path = target.partition("?")[0]
    if not path.startswith("/"):  # absolute form, as proxies send it
        path = urlsplit(path).path
    if "%" in path:
        path = unquote(path)
    parts = path.split("/")
    if len(parts) != 6 or parts[:3] != _PREFIX or parts[5] not in _KINDS:
        return path
    return Endpoint(parts[3], parts[4], _KINDS[parts[5]])
