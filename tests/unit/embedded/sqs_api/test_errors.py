"""The wire format of errors."""

import pytest

from chaski_embedded.sqs_api.errors import error_response, invalid_value, malformed, missing


@pytest.mark.parametrize(
    ("code", "shape", "query_code", "status"),
    [
        # recorded from AWS: localstack/localstack, tests/aws/services/sqs/test_sqs.snapshot.json
        ("QueueDoesNotExist", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400),
        ("QueueNameExists", "QueueNameExists", "QueueAlreadyExists", 400),
        ("PurgeQueueInProgress", "PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403),
        ("InvalidBatchEntryId", "InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400),
        ("BatchRequestTooLong", "BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400),
        ("InvalidAttributeName", "InvalidAttributeName", "InvalidAttributeName", 400),
        ("InvalidParameterValue", "InvalidParameterValueException", "InvalidParameterValue", 400),
        ("MissingParameter", "MissingRequiredParameterException", "MissingParameter", 400),
    ],
)
def test_an_error_has_both_of_its_codes(code: str, shape: str, query_code: str, status: int) -> None:
    """Newer SDKs read `__type`, boto3 reports the code in the header."""
    answer = error_response(code, "why")
    assert answer.status == status
    assert answer.body["__type"].partition("#")[2] == shape
    assert answer.body["message"] == "why"
    assert answer.headers == {"x-amzn-query-error": f"{query_code};Sender"}


def test_an_unknown_code_is_an_internal_error() -> None:
    """It is not blamed on the client."""
    answer = error_response("SomethingElse", "why")
    assert answer.status == 500
    assert answer.headers["x-amzn-query-error"] == "InternalFailure;Receiver"


def test_errors_name_parameter_value_and_reason() -> None:
    """The texts are those of AWS."""
    assert invalid_value(21, "WaitTimeSeconds", "Too long.").reason == (
        "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Too long."
    )
    assert missing("MessageBody").reason == "The request must contain the parameter MessageBody."
    assert malformed("no JSON").code == "MalformedInput"
