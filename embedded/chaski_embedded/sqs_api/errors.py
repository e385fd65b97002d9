"""Error responses of the SQS JSON protocol.

An error is raised as `BackendRejectedError` with the code that AWS documents, and has three forms in the response:
`__type` names the shape (newer SDKs), the header `x-amzn-query-error` repeats the code of the former Query protocol
(which boto3 reports as `Error.Code`), and the HTTP status follows the former protocol too.

Sources: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-json-api-responses.html and
the responses recorded from AWS in localstack/localstack, tests/aws/services/sqs/test_sqs.snapshot.json.
"""

from dataclasses import dataclass
from typing import Any

from chaski_core.errors import BackendRejectedError

_SQS = "com.amazonaws.sqs#"
_CORAL = "com.amazon.coral.service#"  # AWS's web service framework: errors that the service's model does not list
_OLD = "AWS.SimpleQueueService."


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """The HTTP response for an error."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The wire format of one code."""

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


def error_response(code: str, message: str) -> ErrorResponse:
    """The HTTP response for an error code; an unknown code is an internal error: 500."""
    shape = _SHAPES.get(code) or _SHAPES["InternalError"]
    fault = "Receiver" if shape.status >= 500 else "Sender"
    return ErrorResponse(
        shape.status,
        {"x-amzn-query-error": f"{shape.query_code};{fault}"},
        {"__type": shape.type, "message": message},
    )


def invalid_value(value: object, parameter: str, reason: str) -> BackendRejectedError:
    """The error for a parameter whose value is not allowed."""
    return BackendRejectedError(
        "InvalidParameterValue", f"Value {value} for parameter {parameter} is invalid. Reason: {reason}"
    )


def invalid_parameter(reason: str) -> BackendRejectedError:
    """The error for a parameter where AWS uses a text other than that of `invalid_value`."""
    return BackendRejectedError("InvalidParameterValue", reason)


def missing(parameter: str) -> BackendRejectedError:
    """The error for a required parameter that is missing or empty."""
    return BackendRejectedError("MissingParameter", f"The request must contain the parameter {parameter}.")


def malformed(reason: str) -> BackendRejectedError:
    """The error for a request body that is not JSON of the right types."""
    return BackendRejectedError("MalformedInput", reason)
