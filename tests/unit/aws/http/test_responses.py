"""What an answer means."""

import orjson
import pytest

from chaski_aws.http.endpoints import DYNAMODB, SQS
from chaski_aws.http.responses import Kind, Problem, Response, read_answer
from chaski_core.errors import BackendRejectedError, BackendUnavailableError


def problem(status: int, code: str = "", query: str = "", body: bytes | None = None) -> Problem:
    """What SQS's answer means."""
    headers = {"x-amzn-query-error": query} if query else {}
    if body is None:
        body = b'{"__type": "%s", "message": "why"}' % code.encode() if code else b""
    read = read_answer(SQS, Response(status, headers, body))
    assert isinstance(read, Problem)
    return read


@pytest.mark.parametrize(("body", "value"), [(b'{"a": [1]}', {"a": [1]}), (b"{}", {}), (b"", {})], ids=str)
def test_success_is_its_document(body: bytes, value: object) -> None:
    """An empty body says nothing, as that of DeleteMessage."""
    assert read_answer(SQS, Response(200, {}, body)) == value


@pytest.mark.parametrize(
    ("status", "spelt", "query", "code", "kind"),
    [
        (400, "com.amazonaws.sqs#QueueDoesNotExist", "", "QueueDoesNotExist", Kind.REJECTED),
        (400, "QueueDoesNotExist", "", "QueueDoesNotExist", Kind.REJECTED),
        (400, "", "AWS.SimpleQueueService.NonExistentQueue;Sender", "QueueDoesNotExist", Kind.REJECTED),
        (400, "AWS.SimpleQueueService.NonExistentQueue", "", "QueueDoesNotExist", Kind.REJECTED),
        (
            400,
            "com.amazonaws.sqs#QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue;Sender",
            "QueueDoesNotExist",
            Kind.REJECTED,
        ),
        (403, "com.amazon.coral.service#AccessDeniedException", "AccessDenied;Sender", "AccessDenied", Kind.REJECTED),
        (400, "com.amazon.coral.service#MissingRequiredParameterException", "", "MissingParameter", Kind.REJECTED),
        (400, "X#InvalidParameterValueException:http://internal/", "", "InvalidParameterValue", Kind.REJECTED),
        (403, "com.amazonaws.sqs#RequestThrottled", "", "RequestThrottled", Kind.THROTTLED),
        (400, "ThrottlingException", "", "Throttling", Kind.THROTTLED),
        (400, "com.amazonaws.sqs#KmsThrottled", "", "KmsThrottled", Kind.THROTTLED),
        (403, "com.amazonaws.sqs#OverLimit", "", "OverLimit", Kind.THROTTLED),
        (429, "", "", "HTTP429", Kind.THROTTLED),
        (503, "ThrottlingException", "", "Throttling", Kind.THROTTLED),
        (400, "com.amazonaws.sqs#KmsAccessDenied", "", "KmsAccessDenied", Kind.REJECTED),
        (403, "ExpiredTokenException", "", "ExpiredToken", Kind.CREDENTIALS),
        (403, "ExpiredToken", "", "ExpiredToken", Kind.CREDENTIALS),
        (403, "UnrecognizedClientException", "", "UnrecognizedClient", Kind.CREDENTIALS),
        (403, "InvalidClientTokenId", "", "InvalidClientTokenId", Kind.CREDENTIALS),
        (403, "RequestTimeTooSkewed", "", "RequestTimeTooSkewed", Kind.SKEWED),
        (403, "InvalidSignatureException", "", "InvalidSignature", Kind.SKEWED),
        (500, "InternalFailure", "", "InternalFailure", Kind.SERVER),
        (408, "RequestTimeoutException", "", "RequestTimeout", Kind.SERVER),
        (503, "", "", "HTTP503", Kind.SERVER),
        (307, "", "", "HTTP307", Kind.SERVER),
        (404, "", "", "HTTP404", Kind.REJECTED),
    ],
)
def test_error_has_one_code_and_one_kind(status: int, spelt: str, query: str, code: str, kind: Kind) -> None:
    """However the service, its former protocol or something before it spells it."""
    read = problem(status, spelt, query)
    assert (read.code, read.kind) == (code, kind)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'"text"', b"\xff", b'{"a"'], ids=str)
def test_success_that_is_no_json_object_is_a_server_error(body: bytes) -> None:
    """A captive portal answers 200; nothing was done."""
    assert problem(200, body=body).kind is Kind.SERVER


@pytest.mark.parametrize(
    "body", [b'{"__type": 5, "message": ["x"]}', b"\xff\xfe", b"x" * 5_000], ids=["types", "bytes", "long"]
)
def test_odd_error_bodies_are_quoted_in_short(body: bytes) -> None:
    """Whatever comes, the reason is a short text."""
    read = problem(400, body=body)
    assert read.code == "HTTP400"
    assert len(read.reason) < 2_100
    assert read.reason.startswith("HTTP 400")


def test_codes_of_dynamodb_stay_as_documented() -> None:
    """Its callers compare with the names in its documentation."""
    body = b'{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"}'
    read = read_answer(DYNAMODB, Response(400, {}, body))
    assert isinstance(read, Problem)
    assert (read.code, read.reason, read.kind) == ("ConditionalCheckFailedException", "no", Kind.REJECTED)


CANCELLED = {
    "a condition": (["ConditionalCheckFailed", "None"], "ConditionalCheckFailedException", Kind.REJECTED),
    "a condition beside a conflict": (
        ["TransactionConflict", "ConditionalCheckFailed"], "ConditionalCheckFailedException", Kind.REJECTED,
    ),
    "a conflict": (["None", "TransactionConflict"], "TransactionConflict", Kind.THROTTLED),
    "a throttled item": (["ThrottlingError", "None"], "ThrottlingError", Kind.THROTTLED),
    "too little capacity": (["ProvisionedThroughputExceeded"], "ProvisionedThroughputExceeded", Kind.THROTTLED),
    "a wrong item": (["ValidationError"], "ValidationError", Kind.REJECTED),
    "no reason": ([], "TransactionCanceledException", Kind.REJECTED),
}  # fmt: skip


@pytest.mark.parametrize(("reasons", "code", "kind"), CANCELLED.values(), ids=CANCELLED.keys())
def test_a_cancelled_transaction_is_its_reason(reasons: list[str], code: str, kind: Kind) -> None:
    """A condition that failed fails again; a conflict with another transaction ends by itself."""
    told = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": [{"Code": each} for each in reasons],
    }
    read = read_answer(DYNAMODB, Response(400, {}, orjson.dumps(told)))
    assert isinstance(read, Problem)
    assert (read.code, read.kind) == (code, kind)


@pytest.mark.parametrize("kind", Kind)
def test_only_what_would_fail_again_is_rejected(kind: Kind) -> None:
    """Credentials and clocks are mended by people, so those calls are worth repeating later."""
    error = Problem(kind, "Code", "why").as_error()
    assert isinstance(error, BackendRejectedError if kind is Kind.REJECTED else BackendUnavailableError)
    assert str(error) == "Code: why"
