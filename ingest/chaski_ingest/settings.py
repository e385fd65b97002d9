"""Limits of ingest, each with its unit and the reason for its default."""

from dataclasses import dataclass, field

from chaski_core.ports import MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class SendingSettings:
    """How messages are sent to the queues."""

    linger_seconds: float = 0.005
    """How long a message waits for others to share its batch while another call to its queue is in flight. An idle queue
    gets it at once; under load this fills batches, and it is far below a call's own time."""

    batches_in_flight: int = 8
    """Calls in flight for one SQS queue. At 20 ms a call that is 4,000 messages a second, more than one partition of
    a FIFO queue accepts (3,000)."""

    max_waiting_messages: int = 10_000
    """Messages between their validation and the queue's response, of all queues together: two seconds of one core's work.
    Messages beyond it are answered with 503, so that producers slow down with the queue. A producer of a route may have at
    most as many as it leaves for others: half, where it is alone."""

    max_waiting_bytes: int = 64 * 1024 * 1024
    """The bytes of these messages; keeps memory bounded when messages are large."""

    call_timeout_seconds: float = 10.0
    """Timeout of one call to the queue; then its messages are answered with 503. Longer than the adapters' own retries,
    shorter than the 30 s at which common HTTP clients give up."""

    max_wait_seconds: float = 10.0
    """How long a message may wait for its call; then it is answered with 503 and never sent."""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Limits and timeouts of the HTTP API."""

    max_message_bytes: int = MAX_MESSAGE_BYTES
    """One message's JSON as received: 256 KiB, as the API promises."""

    max_queue_bytes: int = 307_200
    """One message in the queue's format: 300 KiB leave 20 KiB of the queue's 320 KiB for the fields that retries add."""

    max_batch_bytes: int = 16 * 1024 * 1024
    """One batch request's body: 64 messages of the largest size, or 10,000 usual ones."""

    max_batch_lines: int = 10_000
    """Lines of one batch request: bounds the work of one request."""

    batch_workers: int = 100
    """Subjects of one batch request that are sent concurrently: fills batches of ten, and leaves the buffer to
    others."""

    batch_timeout_seconds: float = 25.0
    """After this no further line of a batch request is sent; the rest is answered with 503. Below the 30 s at which common
    HTTP clients give up, so that they learn which lines were accepted."""

    max_body_bytes: int = 128 * 1024 * 1024
    """Bytes of all request bodies held at a time, counted as they arrive; a batch counts twice, since its messages are
    held beside it until the queues have acknowledged them. Bodies beyond it are answered with 503. A producer of a route
    may have at most as much as it leaves for others: half, where it is alone."""

    body_timeout_seconds: float = 15.0
    """How long a request's body may take to arrive, so that slow clients can't hold the memory above."""

    body_pace_bytes: int = 40 * 1024
    """Bytes that must arrive in each `body_pace_seconds`, unless the body ends: 8 KiB a second."""

    body_pace_seconds: float = 5.0
    """A body that stops for this time is answered with 408. Longer than the delay of a packet that was lost twice."""

    max_connections: int = 8_192
    """Connections open at a time, where the process's descriptors allow as many. Beyond it an idle one is closed: first
    the oldest of those that have never made a request, then one that is kept open for the next request."""

    max_head_bytes: int = 32 * 1024
    """Request line and headers that arrive in pieces: twice the size of two of the largest credentials."""

    max_heads_bytes: int = 16 * 1024 * 1024
    """Bytes of all incomplete heads. A head that arrives in one piece, as nearly all do, is not counted."""

    linger_seconds: float = 2.0
    """How long the rest of a refused body is read and dropped, so that the client reads the response before the close."""

    keep_alive_seconds: float = 75.0
    """How long an idle connection stays open: longer than the 60 s of common load balancers, so that the server
    never closes a connection just as a request arrives."""

    retry_after_seconds: int = 1
    """`Retry-After` where no better value is known."""

    suspended_retry_after_seconds: int = 60
    """`Retry-After` of a suspended route: a person resumes it, so a retry every second would be useless."""

    drain_seconds: float = 12.0
    """How long requests in progress may take once a drain has started: one call to the queue and a little more."""

    sending: SendingSettings = field(default_factory=SendingSettings)
    """How messages are sent to the queues."""
