"""What an answer of AWS means: a value, or a problem of a kind that says what to do about it. Pure.

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


class Kind(StrEnum):
    """What went wrong; the label `result` of `chaski_sqs_requests_total`."""

    THROTTLED = "throttled"  # asked too often
    SERVER = "server_error"  # 5xx, or no answer of the protocol
    CONNECTION = "connection"  # no answer: could not connect, or cut
    TIMEOUT = "timeout"  # no answer in time
    CREDENTIALS = "credentials"  # these keys or this token are not valid (any more)
    SKEWED = "clock_skew"  # signed with a clock that differs too much
    REJECTED = "rejected"  # the same call would fail again


OK = "ok"
CANCELLED = "cancelled"

# Without the suffix "Exception", which some services add and some don't.
_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "KMSThrottling",
        "KmsThrottled",
        "LimitExceeded",
        "OverLimit",  # too many in flight: ends by itself
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
        "TransactionConflict",  # another transaction has the item: ends by itself
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
# API_TransactWriteItems: its CancellationReasons say why, one for each item in the order of the request.
_CANCELLED_TRANSACTION = "TransactionCanceledException"
_SKEW = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
_SIGNATURE = frozenset({"InvalidSignature", "SignatureDoesNotMatch"})  # a wrong key, or a wrong clock
_TRANSIENT = frozenset(
    {"InternalError", "InternalFailure", "InternalServerError", "RequestTimeout", "ServiceUnavailable"}
)


@message_value
class Response:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]  # asked for by names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no value."""

    kind: Kind
    code: str  # the service's own, in the spelling of `Service.code_of`; else what this program calls it
    reason: str

    def as_error(self) -> BackendError:
        """The error that callers of the port see."""
        if self.kind is Kind.REJECTED:
            return BackendRejectedError(self.code, self.reason)
        return BackendUnavailableError(f"{self.code}: {self.reason}")


def read_answer(service: Service, answer: Response) -> Any | Problem:
    """The value that a service returned: the JSON document, `{}` where the body is empty; or the problem."""
    document = _json(answer.body)
    if 200 <= answer.status < 300 and document is not None:
        return document
    spelt = _spelt_code(answer, document)
    code = service.code_of(spelt) if spelt else f"HTTP{answer.status}"
    return Problem(_kind(answer.status, spelt), code, _reason(answer, document))


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _spelt_code(answer: Response, document: Mapping[str, Any] | None) -> str:
    told = (document or {}).get("__type") or answer.headers.get("x-amzn-errortype", "")
    told = told if isinstance(told, str) else ""
    name = told.partition(":")[0].rpartition("#")[2]  # com.amazonaws.sqs#QueueDoesNotExist, Name:http://...
    if name == _CANCELLED_TRANSACTION:
        return _cancellation(document or {}) or name
    return name or answer.headers.get("x-amzn-query-error", "").partition(";")[0]


def _cancellation(document: Mapping[str, Any]) -> str:
    """Why a transaction was cancelled: a condition before all else, since a condition that failed fails again."""
    reasons = document.get("CancellationReasons")
    codes = [each.get("Code") for each in reasons if isinstance(each, dict)] if isinstance(reasons, list) else []
    if "ConditionalCheckFailed" in codes:
        return "ConditionalCheckFailedException"  # as a single write spells it
    return next((code for code in codes if isinstance(code, str) and code != "None"), "")


def _reason(answer: Response, document: Mapping[str, Any] | None) -> str:
    told = (document or {}).get("message") or (document or {}).get("Message")
    if isinstance(told, str):
        return told[:_MAX_REASON_CHARACTERS]
    return f"HTTP {answer.status}: {answer.body[:_MAX_REASON_CHARACTERS].decode('utf-8', 'backslashreplace')}"


def _kind(status: int, spelt: str) -> Kind:
    code = spelt.removesuffix("Exception")
    if code in _THROTTLING or status == 429:
        return Kind.THROTTLED
    if code in _CREDENTIALS:
        return Kind.CREDENTIALS
    if code in _SKEW | _SIGNATURE:
        return Kind.SKEWED
    if status >= 500 or status < 400 or code in _TRANSIENT:
        return Kind.SERVER
    return Kind.REJECTED
