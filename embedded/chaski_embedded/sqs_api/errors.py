"""Error answers of the SQS JSON protocol.

An error is raised as `BackendRejectedError` with the code that AWS documents for it, and told on the wire in three
ways: `__type` names the shape (newer SDKs), the header `x-amzn-query-error` repeats the code of the former Query
protocol (which boto3 reports as `Error.Code`), and the HTTP status follows the former protocol too.

Sources: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-json-api-responses.html and
the answers recorded from AWS in localstack/localstack, tests/aws/services/sqs/test_sqs.snapshot.json.
"""

from dataclasses import dataclass
from typing import Any

from chaski_core.errors import BackendRejectedError

_SQS = "com.amazonaws.sqs#"
_CORAL = "com.amazon.coral.service#"  # AWS's web service framework: errors that the service's model does not list
_OLD = "AWS.SimpleQueueService."


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What goes back over HTTP."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one code looks on the wire."""

    type: str
    query_code: str
    status: int = 400


_SHAPES = {
    "QueueDoesNotExist": _Shape(_SQS + "QueueDoesNotExist", _OLD + "NonExistentQueue"),
    "QueueNameExists": _Shape(_SQS + "QueueNameExists", "QueueAlreadyExists"),
    "PurgeQueueInProgress": _Shape(_SQS + "PurgeQueueInProgress", _OLD + "PurgeQueueInProgress", 403),
    "ReceiptHandleIsInvalid": _Shape(_SQS + "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404),
    "OverLimit": _Shape(_SQS + "OverLimit", "OverLimit", 403),
    "RequestThrottled": _Shape(_SQS + "RequestThrottled", "RequestThrottled", 403),
    "InvalidParameterValue": _Shape(_CORAL + "InvalidParameterValueException", "InvalidParameterValue"),
    "MissingParameter": _Shape(_CORAL + "MissingRequiredParameterException", "MissingParameter"),
    "AccessDenied": _Shape(_CORAL + "AccessDeniedException", "AccessDenied", 403),
    "InvalidSignature": _Shape(_CORAL + "InvalidSignatureException", "SignatureDoesNotMatch", 403),
    "InvalidAction": _Shape(_CORAL + "UnknownOperationException", "InvalidAction", 404),
    "MalformedInput": _Shape(_CORAL + "SerializationException", "MalformedInput"),
    "RequestEntityTooLarge": _Shape(_CORAL + "RequestEntityTooLargeException", "RequestEntityTooLarge", 413),
    "RequestTimeout": _Shape(_CORAL + "RequestTimeoutException", "RequestTimeout", 408),
    "InternalError": _Shape(_CORAL + "InternalFailure", "InternalFailure", 500),
    "ServiceUnavailable": _Shape(_CORAL + "ServiceUnavailableException", "ServiceUnavailable", 503),
}
_SHAPES |= {
    code: _Shape(_SQS + code, _OLD + code)
    for code in (
        "BatchEntryIdsNotDistinct",
        "BatchRequestTooLong",
        "EmptyBatchRequest",
        "InvalidBatchEntryId",
        "MessageNotInflight",
        "QueueDeletedRecently",
        "TooManyEntriesInBatchRequest",
        "UnsupportedOperation",
    )
}
_SHAPES |= {
    code: _Shape(_SQS + code, code)
    for code in ("InvalidAttributeName", "InvalidAttributeValue", "InvalidMessageContents")
}


def error_answer(code: str, message: str) -> ErrorAnswer:
    """The HTTP answer for an error code; a code that is not known here is the server's own fault: 500."""
    shape = _SHAPES.get(code) or _SHAPES["InternalError"]
    fault = "Receiver" if shape.status >= 500 else "Sender"
    return ErrorAnswer(
        shape.status,
        {"x-amzn-query-error": f"{shape.query_code};{fault}"},
        {"__type": shape.type, "message": message},
    )


def invalid_value(value: object, parameter: str, reason: str) -> BackendRejectedError:
    """A parameter is there, but its value is not allowed."""
    return BackendRejectedError(
        "InvalidParameterValue", f"Value {value} for parameter {parameter} is invalid. Reason: {reason}"
    )


def invalid_parameter(sentence: str) -> BackendRejectedError:
    """As `invalid_value`, where AWS uses a sentence of its own."""
    return BackendRejectedError("InvalidParameterValue", sentence)


def missing(parameter: str) -> BackendRejectedError:
    """A parameter that is needed is not there, or is empty."""
    return BackendRejectedError("MissingParameter", f"The request must contain the parameter {parameter}.")


def malformed(reason: str) -> BackendRejectedError:
    """The request body is not JSON of the right types."""
    return BackendRejectedError("MalformedInput", reason)
