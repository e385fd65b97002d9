"""Names of a route's queues and table on AWS. Pure.

All names of one namespace begin with `chaski-`, 16 hexadecimal digits and a hyphen: the first 64 bits of a SHA-256 hash of
the installation and the namespace. An IAM policy that allows this prefix allows the routes of that namespace and no
others (`chaski_aws.iam`). Earlier releases wrote namespace and route in plain, where no prefix separates namespace
`help` from namespace `help-desk` (`chaski_core.route.resolved`); resources with such names keep them.
"""

import hashlib
import re

from chaski_core.route.model import Route
from chaski_core.route.resolved import MAX_QUEUE_NAME_CHARACTERS, MAX_TABLE_NAME_CHARACTERS, sanitize

_PREFIX = re.compile(r"chaski-[0-9a-f]{16}-")
_HASH_CHARACTERS = 16
_READABLE_CHARACTERS = 18  # of route and queue at least, beside generation and partition of up to 16 characters


def namespace_prefix(installation: str, namespace: str) -> str:
    """The first 24 characters of the names of all queues and tables of a namespace: `chaski-<16 hex>-`."""
    return f"chaski-{_digest(installation, namespace)}-"


def queue_name(route: Route, installation: str, queue: str, generation: int, index: int) -> str:
    """Name of the SQS queue of one partition: at most 80 characters, unique."""
    return _queue_name(route, installation, queue, f"-g{generation}-p{index}")


def rung_queue_name(route: Route, installation: str, rung: str) -> str:
    """Name of the SQS queue of one rung: at most 80 characters, unique."""
    return _queue_name(route, installation, f"rung-{rung}", "")


def table_name(route: Route, installation: str) -> str:
    """Name of the route's DynamoDB table: at most 255 characters, unique."""
    prefix, suffix = namespace_prefix(installation, route.namespace), f"-{_digest(route.name)}"
    return prefix + sanitize(route.name)[: MAX_TABLE_NAME_CHARACTERS - len(prefix) - len(suffix)] + suffix


def queue_name_prefix(route: Route, installation: str) -> str:
    """A prefix of the names of all queues of the route; queues of other routes of its namespace may have it too."""
    return namespace_prefix(installation, route.namespace) + _route_part(route)


def prefix_of(name: str, route: Route) -> str | None:
    """The prefix of the route's queues in the installation that named this one; None for a name of an earlier release."""
    found = _PREFIX.match(name)
    return None if found is None else found.group() + _route_part(route)


def _route_part(route: Route) -> str:
    return sanitize(f"{route.name}-")[:_READABLE_CHARACTERS]


def _queue_name(route: Route, installation: str, last: str, tail: str) -> str:
    # Route and queue may contain hyphens ("a-b"/"c" and "a"/"b-c" give the same text), so a hash of the exact parts follows.
    prefix, suffix = namespace_prefix(installation, route.namespace), f"-{_digest(route.name, last, tail)}.fifo"
    limit = MAX_QUEUE_NAME_CHARACTERS - len(prefix) - len(tail) - len(suffix)
    return prefix + sanitize(f"{route.name}-{last}")[:limit] + tail + suffix


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_HASH_CHARACTERS]
