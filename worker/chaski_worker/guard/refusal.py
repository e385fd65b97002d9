"""Why a request is not made. A refusal is a value; its reason is a metric label from a closed list."""

from dataclasses import dataclass
from enum import StrEnum

from chaski_core.message.target_url import UrlFault


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
    LOOPBACK = "loopback"  # this and all that follow: the address behind the host
    METADATA = "metadata"  # link-local, or a cloud's metadata or credentials service
    PRIVATE = "private"  # the rule's `cidrs` don't cover it
    EMBEDDED = "embedded-ipv4"  # IPv6 that a translator makes into some IPv4 address
    RESERVED = "reserved"  # multicast, documentation, unspecified: no host lives there
    OWN = "own"  # the API server, or this very Pod


@dataclass(frozen=True, slots=True)
class Refusal:
    """No request is made; `detail` is one line for people, without query strings and header values."""

    reason: RefusalReason
    detail: str

    @classmethod
    def of(cls, fault: UrlFault) -> "Refusal":
        """For a URL that can't be parsed."""
        return cls(RefusalReason(fault.part.value), f"the URL {fault.detail}")
