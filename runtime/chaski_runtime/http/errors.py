"""Errors of the HTTP client, besides OSError: a connection that is lost while it is used raises the system's own."""


class HttpError(Exception):
    """A request has no complete response."""


class LookupFailedError(HttpError):
    """The name of a host has no address.

    Args:
        host: that was looked up.
        os_error: the resolver's, also the cause.
    """

    def __init__(self, host: str, os_error: OSError) -> None:
        super().__init__(f"no address for {host}: {os_error.strerror or os_error}")
        self.host = host
        self.os_error = os_error


class ConnectFailedError(HttpError):
    """No address of a host could be connected to, or the TLS handshake failed.

    Args:
        host: that was dialled.
        port: that was dialled.
        os_error: of the last address, also the cause.
    """

    def __init__(self, host: str, port: int, os_error: OSError) -> None:
        reason = os_error.strerror or str(os_error) or type(os_error).__name__
        super().__init__(f"no connection to {host}:{port}: {reason}")
        self.host = host
        self.port = port
        self.os_error = os_error


class ProxyRefusedError(HttpError):
    """A proxy opened no tunnel; the text has its status."""


class DisconnectedError(HttpError):
    """The connection was closed before the headers of the response were complete."""

    def __init__(self) -> None:
        super().__init__("the connection was closed before the response headers were complete")


class InvalidResponseError(HttpError):
    """The head of a response is not HTTP/1; the text says why, and contains no received bytes."""


class BrokenBodyError(HttpError):
    """The body of a response is invalid, or ended too early."""


class ResponseTooLongError(HttpError):
    """A response is longer than its limit."""
