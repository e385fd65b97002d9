"""The fence in a queue's policy, whichever way AWS writes it."""

import json

import pytest

from chaski_aws.provision.send_block import fenced, holds_fence, is_fenced, unfenced

ARN = "arn:aws:sqs:us-east-1:123456789012:q.fifo"
FENCE = {"Sid": "ChaskiFence", "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": ARN}
OTHER = {"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": ["sqs:SendMessage"], "Resource": ARN}


def policy(*statements: object) -> str:
    """A policy as AWS gives it back."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        (None, False),
        ("", False),
        ("no policy", False),
        ("[]", False),
        (policy(), False),
        (policy(OTHER), False),
        (policy(FENCE), True),
        (policy(OTHER, FENCE), True),
        (policy(FENCE | {"Principal": {"AWS": "*"}}), True),
        (policy(FENCE | {"Action": ["SQS:SendMessage"]}), True),
        (json.dumps({"Statement": FENCE}), True),
        (policy(FENCE | {"Effect": "Allow"}), False),
        (policy(FENCE | {"Principal": {"AWS": "arn:aws:iam::1:root"}}), False),
        (policy(FENCE | {"Action": "sqs:DeleteMessage"}), False),
        (policy(FENCE | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}), False),
        (policy({key: value for key, value in FENCE.items() if key != "Sid"}), False),
    ],
)
def test_a_fence_is_known_by_what_it_means(text: str | None, closed: bool) -> None:
    """Not by its spelling; and a statement of that name that says something else is none."""
    assert is_fenced(text) is closed


@pytest.mark.parametrize("before", [None, "", policy(OTHER), policy(OTHER, FENCE | {"Effect": "Allow"})])
def test_a_fence_goes_up_and_down_and_leaves_the_rest(before: str | None) -> None:
    """What was there beside it is there afterwards."""
    up = fenced(before, ARN)
    assert is_fenced(up)
    down = unfenced(up)
    assert not holds_fence(down)
    assert (json.loads(down)["Statement"] if down else []) == ([OTHER] if before else [])
    assert fenced(up, ARN) == up
