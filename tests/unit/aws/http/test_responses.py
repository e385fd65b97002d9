"""Parsing of responses."""

import orjson
import pytest

from chaski_aws.http.endpoints import DYNAMODB, SQS
from chaski_aws.http.responses import CallFailure, FailureKind, Response, parse_response
from chaski_core.errors import BackendRejectedError, BackendUnavailableError


def problem(status: int, code: str = "", query: str = "", body: bytes | None = None) -> CallFailure:
    """Parses a response of SQS."""
    headers = {"x-amzn-query-error": query} if query else {}
    if body is None:
        body = b'{"__type": "%s", "message": "why"}' % code.encode() if code else b""
    read = parse_response(SQS, Response(status, headers, body))
    assert isinstance(read, CallFailure)
    return read


@pytest.mark.parametrize(("body", "value"), [(b'{"a": [1]}', {"a": [1]}), (b"{}", {}), (b"", {})], ids=str)
def test_success_returns_the_document(body: bytes, value: object) -> None:
    """An empty body, as of DeleteMessage, is an empty document."""
    assert parse_response(SQS, Response(200, {}, body)) == value


@pytest.mark.parametrize(
    ("status", "spelt", "query", "code", "kind"),
    [
        (400, "com.amazonaws.sqs#QueueDoesNotExist", "", "QueueDoesNotExist", FailureKind.REJECTED),
        (400, "QueueDoesNotExist", "", "QueueDoesNotExist", FailureKind.REJECTED),
        (400, "", "AWS.SimpleQueueService.NonExistentQueue;Sender", "QueueDoesNotExist", FailureKind.REJECTED),
        (400, "AWS.SimpleQueueService.NonExistentQueue", "", "QueueDoesNotExist", FailureKind.REJECTED),
        (
            400,
            "com.amazonaws.sqs#QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue;Sender",
            "QueueDoesNotExist",
            FailureKind.REJECTED,
        ),
        (
            403,
            "com.amazon.coral.service#AccessDeniedException",
            "AccessDenied;Sender",
            "AccessDenied",
            FailureKind.REJECTED,
        ),
        (
            400,
            "com.amazon.coral.service#MissingRequiredParameterException",
            "",
            "MissingParameter",
            FailureKind.REJECTED,
        ),
        (400, "X#InvalidParameterValueException:http://internal/", "", "InvalidParameterValue", FailureKind.REJECTED),
        (403, "com.amazonaws.sqs#RequestThrottled", "", "RequestThrottled", FailureKind.THROTTLED),
        (400, "ThrottlingException", "", "Throttling", FailureKind.THROTTLED),
        (400, "com.amazonaws.sqs#KmsThrottled", "", "KmsThrottled", FailureKind.THROTTLED),
        (403, "com.amazonaws.sqs#OverLimit", "", "OverLimit", FailureKind.THROTTLED),
        (429, "", "", "HTTP429", FailureKind.THROTTLED),
        (503, "ThrottlingException", "", "Throttling", FailureKind.THROTTLED),
        (400, "com.amazonaws.sqs#KmsAccessDenied", "", "KmsAccessDenied", FailureKind.REJECTED),
        (403, "ExpiredTokenException", "", "ExpiredToken", FailureKind.CREDENTIALS),
        (403, "ExpiredToken", "", "ExpiredToken", FailureKind.CREDENTIALS),
        (403, "UnrecognizedClientException", "", "UnrecognizedClient", FailureKind.CREDENTIALS),
        (403, "InvalidClientTokenId", "", "InvalidClientTokenId", FailureKind.CREDENTIALS),
        (403, "RequestTimeTooSkewed", "", "RequestTimeTooSkewed", FailureKind.SKEWED),
        (403, "InvalidSignatureException", "", "InvalidSignature", FailureKind.SKEWED),
        (500, "InternalFailure", "", "InternalFailure", FailureKind.SERVER),
        (408, "RequestTimeoutException", "", "RequestTimeout", FailureKind.SERVER),
        (503, "", "", "HTTP503", FailureKind.SERVER),
        (307, "", "", "HTTP307", FailureKind.SERVER),
        (404, "", "", "HTTP404", FailureKind.REJECTED),
    ],
)
def test_error_has_one_code_and_one_kind(status: int, spelt: str, query: str, code: str, kind: FailureKind) -> None:
    """In every spelling of the service, its former protocol or a proxy."""
    read = problem(status, spelt, query)
    assert (read.code, read.kind) == (code, kind)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'"text"', b"\xff", b'{"a"'], ids=str)
def test_success_that_is_not_a_json_object_is_a_server_error(body: bytes) -> None:
    """A captive portal answers 200, without any effect."""
    assert problem(200, body=body).kind is FailureKind.SERVER


@pytest.mark.parametrize(
    "body", [b'{"__type": 5, "message": ["x"]}', b"\xff\xfe", b"x" * 5_000], ids=["types", "bytes", "long"]
)
def test_malformed_error_bodies_are_quoted_truncated(body: bytes) -> None:
    """For any body the reason is a short text."""
    read = problem(400, body=body)
    assert read.code == "HTTP400"
    assert len(read.reason) < 2_100
    assert read.reason.startswith("HTTP 400")


def test_codes_of_dynamodb_stay_as_documented() -> None:
    """Callers compare with the documented names."""
    body = b'{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"}'
    read = parse_response(DYNAMODB, Response(400, {}, body))
    assert isinstance(read, CallFailure)
    assert (read.code, read.reason, read.kind) == ("ConditionalCheckFailedException", "no", FailureKind.REJECTED)


CANCELLED = {
    "a condition": (["ConditionalCheckFailed", "None"], "ConditionalCheckFailedException", FailureKind.REJECTED),
    "a condition beside a conflict": (
        ["TransactionConflict", "ConditionalCheckFailed"], "ConditionalCheckFailedException", FailureKind.REJECTED,
    ),
    "a conflict": (["None", "TransactionConflict"], "TransactionConflict", FailureKind.THROTTLED),
    "a throttled item": (["ThrottlingError", "None"], "ThrottlingError", FailureKind.THROTTLED),
    "too little capacity": (["ProvisionedThroughputExceeded"], "ProvisionedThroughputExceeded", FailureKind.THROTTLED),
    "a wrong item": (["ValidationError"], "ValidationError", FailureKind.REJECTED),
    "no reason": ([], "TransactionCanceledException", FailureKind.REJECTED),
}  # fmt: skip


@pytest.mark.parametrize(("reasons", "code", "kind"), CANCELLED.values(), ids=CANCELLED.keys())
def test_a_cancelled_transaction_has_the_code_of_its_reason(reasons: list[str], code: str, kind: FailureKind) -> None:
    """A failed condition would fail again; a conflict with another transaction is temporary."""
    document = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": [{"Code": each} for each in reasons],
    }
    read = parse_response(DYNAMODB, Response(400, {}, orjson.dumps(document)))
    assert isinstance(read, CallFailure)
    assert (read.code, read.kind) == (code, kind)


@pytest.mark.parametrize("kind", FailureKind)
def test_only_permanent_failures_are_rejected(kind: FailureKind) -> None:
    """Credentials and clocks can be fixed, so those calls may succeed later."""
    error = CallFailure(kind, "Code", "why").as_error()
    assert isinstance(error, BackendRejectedError if kind is FailureKind.REJECTED else BackendUnavailableError)
    assert str(error) == "Code: why"
