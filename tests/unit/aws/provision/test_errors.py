"""Errors of provisioning: whether and when to retry, and the fix."""

import pytest

from chaski_aws.provision.errors import ProvisionError, code_of, failure_of

CASES = {
    # service, operation, spelling of the code -> retryable, part of the fix
    "denied": ("sqs", "CreateQueue", "AccessDenied", True, "sqs:CreateQueue and sqs:TagQueue"),
    "denied table": ("dynamodb", "UpdateTimeToLive", "AccessDeniedException", True, "dynamodb:UpdateTimeToLive"),
    "throttled": ("sqs", "SetQueueAttributes", "RequestThrottled", True, "throttled"),
    "throttled table": ("dynamodb", "UpdateTable", "ThrottlingException", True, "throttled"),
    "deleted recently": ("sqs", "CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently", True, "60 s"),
    "table limit": ("dynamodb", "CreateTable", "LimitExceededException", True, "quota"),
    "table busy": ("dynamodb", "UpdateTable", "ResourceInUseException", True, "still working"),
    "old name": ("sqs", "TagQueue", "AWS.SimpleQueueService.NonExistentQueue", True, "deleted meanwhile"),
    "credentials": ("dynamodb", "DescribeTable", "UnrecognizedClientException", True, "credentials"),
    "unavailable": ("dynamodb", "DescribeTable", "InternalServerError", True, "endpoint"),
    "wrong value": ("sqs", "SetQueueAttributes", "InvalidAttributeValue", False, "compare"),
    "wrong table": ("dynamodb", "CreateTable", "ValidationException", False, "compare"),
}


@pytest.mark.parametrize(("service", "operation", "spelling", "retryable", "fix"), CASES.values(), ids=CASES.keys())
def test_every_error_has_a_retry_delay_and_a_fix(
    service: str, operation: str, spelling: str, retryable: bool, fix: str
) -> None:
    """A bounded delay or none; a fix that names what is missing."""
    error = ProvisionError(failure_of(service, operation, "name", code_of(service, spelling), "reason"))
    assert error.retryable is retryable
    assert not retryable or 0 < (error.retry_after_seconds or 0) <= 75
    assert fix in error.fix
    assert "name" in str(error)
