"""Why a message was not accepted."""


class SendError(Exception):
    """A message was not accepted. Its subclasses distinguish a wrong message from a server that is unavailable."""


class RefusedError(SendError):
    """Ingest refused the message, and would refuse it again.

    Attributes:
        status: of the response, such as 400 (a field is wrong), 401 or 403 (the producer), 404 (no such route), 413 (too long).
        reason: with the names of the fields.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"refused with status {status}: {reason}")
        self.status = status
        self.reason = reason


class NotAcceptedError(SendError):
    """No response accepted the message in time. It may have been accepted by a request whose response was lost.

    Send the same `Message` again, with its `id`: within five minutes it is then one message.

    Attributes:
        reason: of the last failure.
    """

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(f"not accepted within {seconds:g} s: {reason}")
        self.reason = reason
