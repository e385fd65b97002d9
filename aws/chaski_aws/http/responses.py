"""Parses AWS's responses: a value, or a failure of a kind that determines how to handle it. Pure.

Sources: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html,
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html, and the lists of botocore's
`_retry.json` and `retries/standard.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from chaski_aws.http.endpoints import Service
from chaski_core.errors import BackendError, BackendRejectedError, BackendUnavailableError
from chaski_core.values import message_value

_MAX_REASON_CHARACTERS = 500


class FailureKind(StrEnum):
    """Why a call failed; the label `result` of `chaski_sqs_requests_total`."""

    THROTTLED = "throttled"
    SERVER = "server_error"  # 5xx, or a response that is not of the protocol
    CONNECTION = "connection"  # no response: could not connect, or disconnected
    TIMEOUT = "timeout"  # no response in time
    CREDENTIALS = "credentials"  # keys or token are invalid or expired
    SKEWED = "clock_skew"  # signed with a clock that differs too much
    REJECTED = "rejected"  # the same call would fail again


OK = "ok"
CANCELLED = "cancelled"

# Without the suffix "Exception", which only some services add.
_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "KMSThrottling",
        "KmsThrottled",
        "LimitExceeded",
        "OverLimit",  # too many in flight: temporary
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceeded",
        "ReplicatedWriteConflict",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "ThrottledException",
        "Throttled",
        "Throttling",
        "ThrottlingError",  # of one item of a transaction
        "TooManyRequests",
        "TransactionConflict",  # another transaction holds the item: temporary
        "TransactionInProgress",
    }
)
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurityToken",
        "TokenRefreshRequired",
        "UnrecognizedClient",
    }
)
# API_TransactWriteItems: CancellationReasons has one entry for each item in the order of the request.
_CANCELLED_TRANSACTION = "TransactionCanceledException"
_SKEW = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
_SIGNATURE = frozenset({"InvalidSignature", "SignatureDoesNotMatch"})  # wrong key, or wrong clock
_TRANSIENT = frozenset(
    {"InternalError", "InternalFailure", "InternalServerError", "RequestTimeout", "ServiceUnavailable"}
)


@message_value
class Response:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]  # looked up by names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Why a call failed."""

    kind: FailureKind
    code: str  # the service's, in the spelling of `Service.code_of`, or one of Chaski's
    reason: str

    def as_error(self) -> BackendError:
        """The error that callers of the port see."""
        if self.kind is FailureKind.REJECTED:
            return BackendRejectedError(self.code, self.reason)
        return BackendUnavailableError(f"{self.code}: {self.reason}")


def parse_response(service: Service, response: Response) -> Any | CallFailure:
    """The JSON document that a service returned (`{}` where the body is empty), or the failure."""
    document = _json(response.body)
    if 200 <= response.status < 300 and document is not None:
        return document
    spelling = _code_spelling(response, document)
    code = service.code_of(spelling) if spelling else f"HTTP{response.status}"
    return CallFailure(_kind(response.status, spelling), code, _reason(response, document))


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _code_spelling(response: Response, document: Mapping[str, Any] | None) -> str:
    error_type = (document or {}).get("__type") or response.headers.get("x-amzn-errortype", "")
    error_type = error_type if isinstance(error_type, str) else ""
    name = error_type.partition(":")[0].rpartition("#")[2]  # com.amazonaws.sqs#QueueDoesNotExist, Name:http://...
    if name == _CANCELLED_TRANSACTION:
        return _cancellation(document or {}) or name
    return name or response.headers.get("x-amzn-query-error", "").partition(";")[0]


def _cancellation(document: Mapping[str, Any]) -> str:
    """Why a transaction was cancelled. A failed condition has precedence, since it would fail again."""
    reasons = document.get("CancellationReasons")
    codes = [each.get("Code") for each in reasons if isinstance(each, dict)] if isinstance(reasons, list) else []
    if "ConditionalCheckFailed" in codes:
        return "ConditionalCheckFailedException"  # as a single write spells it
    return next((code for code in codes if isinstance(code, str) and code != "None"), "")


def _reason(response: Response, document: Mapping[str, Any] | None) -> str:
    message = (document or {}).get("message") or (document or {}).get("Message")
    if isinstance(message, str):
        return message[:_MAX_REASON_CHARACTERS]
    return f"HTTP {response.status}: {response.body[:_MAX_REASON_CHARACTERS].decode('utf-8', 'backslashreplace')}"


def _kind(status: int, spelling: str) -> FailureKind:
    code = spelling.removesuffix("Exception")
    if code in _THROTTLING or status == 429:
        return FailureKind.THROTTLED
    if code in _CREDENTIALS:
        return FailureKind.CREDENTIALS
    if code in _SKEW | _SIGNATURE:
        return FailureKind.SKEWED
    if status >= 500 or status < 400 or code in _TRANSIENT:
        return FailureKind.SERVER
    return FailureKind.REJECTED
