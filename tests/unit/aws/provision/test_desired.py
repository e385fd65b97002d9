"""Tags that users may add to queues and tables."""

import pytest

from chaski_aws.provision.desired import KEY_ARN, tag_fault


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("team", "payments", None),
        ("Cost Center", "", None),
        ("aws:created-by", "x", "reserved"),
        ("AWS:created-by", "x", "reserved"),
        ("chaski.dev/owner", "other", "reserved"),
        ("", "x", "1 to 128"),
        ("team", "x" * 257, "256"),
        ("team", "a*b", "are allowed"),
    ],
)
def test_a_tag_is_checked_before_aws_refuses_it(name: str, value: str, fault: str | None) -> None:
    """Chaski's own tags decide who owns a resource, so that no additional tag may replace one."""
    found = tag_fault(name, value)
    assert found is None if fault is None else found is not None and fault in found


@pytest.mark.parametrize(
    ("text", "is_arn"),
    [
        ("arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", True),
        ("arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd", True),
        ("arn:aws:kms:eu-west-1:111122223333:alias/company-key", False),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", False),
    ],
)
def test_only_the_arn_of_a_key_can_be_compared_with_that_of_a_table(text: str, is_arn: bool) -> None:
    """DynamoDB describes the key of a table by its ARN."""
    assert (KEY_ARN.fullmatch(text) is not None) == is_arn
