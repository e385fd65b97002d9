"""Limits of the ingest, each with its unit and the reason for its default."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SendingSettings:
    """How messages are put on the queues."""

    linger_seconds: float = 0.005
    """How long a message waits for company while another call to its queue is under way. An idle queue gets it at
    once; under load this is what fills batches, and it stays far below a call's own time."""

    batches_in_flight: int = 8
    """Calls under way for one SQS queue. At 20 ms a call that is 4,000 messages a second, more than one partition of
    a FIFO queue takes (3,000)."""

    max_waiting_messages: int = 10_000
    """Messages between their acceptance check and the queue's answer, of all queues together: two seconds of one
    core's work. What is beyond is answered 503, so that producers slow down while the queue does. A producer of a route
    may have at most as many as it leaves for others: half, where it is alone."""

    max_waiting_bytes: int = 64 * 1024 * 1024
    """The same in bytes; keeps memory bounded when messages are large."""

    call_timeout_seconds: float = 10.0
    """How long the queue may take for one call; then the messages in it are answered 503. Longer than the adapters'
    own retries, shorter than the 30 s at which common HTTP clients give up."""

    max_wait_seconds: float = 10.0
    """How long a message may wait before its call; one that waited longer is answered 503 and never sent."""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What the HTTP API accepts, and how long it takes."""

    max_message_bytes: int = 262_144
    """One message's JSON as received: 256 KiB, as the API promises."""

    max_queue_bytes: int = 307_200
    """One message as it lies on the queue: 300 KiB leave 20 KiB of the queue's 320 KiB for what retries add."""

    max_batch_bytes: int = 16 * 1024 * 1024
    """One batch request's body: 64 messages of the largest size, or 10,000 usual ones."""

    max_batch_lines: int = 10_000
    """Lines of one batch request: bounds the work that one request can ask for."""

    batch_workers: int = 100
    """Subjects of one batch request that are sent side by side: fills batches of ten, and leaves the buffer to
    others."""

    batch_timeout_seconds: float = 25.0
    """After this no further line of a batch request is sent; the rest is answered 503. Below the 30 s at which common
    HTTP clients give up, since an answer that nobody reads tells nobody what was accepted."""

    max_body_bytes: int = 128 * 1024 * 1024
    """Bytes of all request bodies held at a time, counted as they arrive; a batch counts twice, since its messages are
    held beside it on their way to the queues. What is beyond is answered 503. A producer of a route may have at most as
    much as it leaves for others: half, where it is alone."""

    body_timeout_seconds: float = 15.0
    """How long a request's body may take to arrive, so that slow senders can't hold the memory above."""

    body_pace_bytes: int = 40 * 1024
    """So many bytes, or the end of the body, have to arrive within `body_pace_seconds`, again and again: 8 KiB a second."""

    body_pace_seconds: float = 5.0
    """After so long a body that has stopped is answered 408. Longer than a packet takes that was lost twice."""

    max_connections: int = 8_192
    """Connections open at a time, where the process's descriptors allow as many. Beyond it the one that has waited
    longest is closed: first of those that have never made a request, then of those that are kept for the next one."""

    max_head_bytes: int = 32 * 1024
    """Request line and headers that come in pieces: two credentials of the largest size, and as much again."""

    max_heads_bytes: int = 16 * 1024 * 1024
    """The same of all requests whose heads are not complete. A head that comes at once, as nearly all do, is not counted."""

    linger_seconds: float = 2.0
    """How long the rest of a refused body is read and dropped, so that the client reads the answer before the end."""

    keep_alive_seconds: float = 75.0
    """How long an idle connection stays open: longer than the 60 s of common load balancers, so that it is never the
    server that closes a connection just as a request comes in."""

    retry_after_seconds: int = 1
    """`Retry-After` where nothing better is known."""

    suspended_retry_after_seconds: int = 60
    """`Retry-After` of a suspended route: people resume it, so asking every second is no use."""

    drain_seconds: float = 12.0
    """How long requests under way may take to end after a drain began: one call to the queue and a little more."""

    sending: SendingSettings = field(default_factory=SendingSettings)
    """How messages are put on the queues."""
