"""Why a request is not made. A refusal is a value; its reason is a metric label from a closed list."""

from dataclasses import dataclass
from enum import StrEnum


class RefusalReason(StrEnum):
    """Values of the label `reason` of `chaski_guard_refusals_total`."""

    MALFORMED = "malformed"  # no URL, or no request, that can be sent
    SCHEME = "scheme"
    USERINFO = "userinfo"
    FRAGMENT = "fragment"
    HOST = "host"
    PORT = "port"
    PATH = "path"
    METHOD = "method"
    HEADER = "header"
    ADDRESS = "address"  # every address of the host is refused


@dataclass(frozen=True, slots=True)
class Refusal:
    """No request is made; `detail` is one line for people, without query strings and header values."""

    reason: RefusalReason
    detail: str
