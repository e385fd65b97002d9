"""The send block in a queue's policy, in every form in which AWS returns it."""

import json

import pytest

from chaski_aws.provision.state import has_block, is_blocked, with_block, without_block

ARN = "arn:aws:sqs:us-east-1:123456789012:q.fifo"
BLOCK = {"Sid": "ChaskiFence", "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": ARN}
OTHER = {"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": ["sqs:SendMessage"], "Resource": ARN}


def policy(*statements: object) -> str:
    """A policy as AWS returns it."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        (None, False),
        ("", False),
        ("no policy", False),
        ("[]", False),
        (policy(), False),
        (policy(OTHER), False),
        (policy(BLOCK), True),
        (policy(OTHER, BLOCK), True),
        (policy(BLOCK | {"Principal": {"AWS": "*"}}), True),
        (policy(BLOCK | {"Action": ["SQS:SendMessage"]}), True),
        (json.dumps({"Statement": BLOCK}), True),
        (policy(BLOCK | {"Effect": "Allow"}), False),
        (policy(BLOCK | {"Principal": {"AWS": "arn:aws:iam::1:root"}}), False),
        (policy(BLOCK | {"Action": "sqs:DeleteMessage"}), False),
        (policy(BLOCK | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}), False),
        (policy({key: value for key, value in BLOCK.items() if key != "Sid"}), False),
    ],
)
def test_a_block_is_recognised_by_its_meaning(text: str | None, blocked: bool) -> None:
    """Not by its spelling; a statement with its Sid and another meaning does not count."""
    assert is_blocked(text) is blocked


@pytest.mark.parametrize("before", [None, "", policy(OTHER), policy(OTHER, BLOCK | {"Effect": "Allow"})])
def test_a_block_is_added_and_removed_and_other_statements_stay(before: str | None) -> None:
    """Statements of other owners are unchanged."""
    blocked = with_block(before, ARN)
    assert is_blocked(blocked)
    unblocked = without_block(blocked)
    assert not has_block(unblocked)
    assert (json.loads(unblocked)["Statement"] if unblocked else []) == ([OTHER] if before else [])
    assert with_block(blocked, ARN) == blocked
