"""The outcome of an attempt. An HTTP failure is data here, never an exception."""

from enum import StrEnum

from chaski_core.values import message_value


class ErrorClass(StrEnum):
    """The closed list of error classes."""

    CONNECTION = "connection"  # DNS, TCP, or broken HTTP before the response headers were complete
    TIMEOUT = "timeout"  # no complete response within the route's `delivery.timeoutSeconds`
    TLS = "tls"  # handshake or certificate
    REFUSED = "refused"  # not dialled: the route does not allow the target
    REDIRECT = "3xx"  # never followed
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"


@message_value
class Outcome:
    """The result of one attempt.

    `error_class` None means delivered: the target responded with 2xx.
    """

    error_class: ErrorClass | None
    status: int | None = None  # HTTP status, if the response headers were complete
    detail: str = ""  # one line for people, without secrets and query strings
    excerpt: str = ""  # the first bytes of the response's body, decoded leniently
    target: str = "none"  # name of the first allow rule that matched
    duration_seconds: float = 0.0
    retry_after_seconds: float = 0.0  # what the target asks to wait, by a header; 0: nothing
    discarded: bool = False  # the route keeps no message for which the target answered this

    @property
    def delivered(self) -> bool:
        """Whether the target accepted the message."""
        return self.error_class is None

    @property
    def key(self) -> str:
        """The most specific name of the error: the status if known, else the class; "" if delivered."""
        if self.error_class is None:
            return ""
        if self.status is not None and self.error_class in _BY_STATUS.values():
            return str(self.status)
        return self.error_class.value

    @property
    def label(self) -> str:
        """The value of the metric label `outcome`."""
        if self.error_class is None:
            return "delivered"
        if self.discarded:
            return "discarded"
        return "refused" if self.error_class is ErrorClass.REFUSED else "failed"


_BY_STATUS = {3: ErrorClass.REDIRECT, 4: ErrorClass.CLIENT_ERROR, 5: ErrorClass.SERVER_ERROR}


def class_of_status(status: int) -> ErrorClass | None:
    """The class of a final HTTP status; None for 2xx.

    A status outside 200..599 can't be final (RFC 9110 §15), so it counts as broken framing.
    """
    if 200 <= status <= 299:
        return None
    return _BY_STATUS.get(status // 100, ErrorClass.CONNECTION)


def class_of_key(key: str) -> str:
    """The class of an error's most specific name: `404` -> `4xx`, `timeout` -> `timeout`."""
    return f"{key[0]}xx" if len(key) == 3 and key.isdigit() else key
