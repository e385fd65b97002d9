"""What an error of AWS means: whether to try again, when, and what to do."""

import pytest

from chaski_aws.provision.errors import ProvisionError, code_of, problem_of

CASES = {
    # service, operation, code as spelt -> retryable, a word of the fix
    "denied": ("sqs", "CreateQueue", "AccessDenied", True, "sqs:CreateQueue and sqs:TagQueue"),
    "denied table": ("dynamodb", "UpdateTimeToLive", "AccessDeniedException", True, "dynamodb:UpdateTimeToLive"),
    "throttled": ("sqs", "SetQueueAttributes", "RequestThrottled", True, "too often"),
    "throttled table": ("dynamodb", "UpdateTable", "ThrottlingException", True, "too often"),
    "deleted recently": ("sqs", "CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently", True, "60 s"),
    "table limit": ("dynamodb", "CreateTable", "LimitExceededException", True, "quota"),
    "table busy": ("dynamodb", "UpdateTable", "ResourceInUseException", True, "still at work"),
    "old name": ("sqs", "TagQueue", "AWS.SimpleQueueService.NonExistentQueue", True, "deleted meanwhile"),
    "credentials": ("dynamodb", "DescribeTable", "UnrecognizedClientException", True, "credentials"),
    "away": ("dynamodb", "DescribeTable", "InternalServerError", True, "endpoint"),
    "wrong value": ("sqs", "SetQueueAttributes", "InvalidAttributeValue", False, "compare"),
    "wrong table": ("dynamodb", "CreateTable", "ValidationException", False, "compare"),
}


@pytest.mark.parametrize(("service", "operation", "spelt", "retryable", "fix"), CASES.values(), ids=CASES.keys())
def test_every_error_says_whether_to_try_again_and_what_to_do(
    service: str, operation: str, spelt: str, retryable: bool, fix: str
) -> None:
    """A wait that is bounded, or none; a sentence that names what is missing."""
    error = ProvisionError(problem_of(service, operation, "name", code_of(service, spelt), "reason"))
    assert error.retryable is retryable
    assert not retryable or 0 < (error.retry_after_seconds or 0) <= 75
    assert fix in error.fix
    assert "name" in str(error)
