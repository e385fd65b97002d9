"""The statement of a role about the KMS keys of its queues and tables. Pure.

A key is used by SQS and DynamoDB on behalf of the caller, so a role gets it through these services only (kms:ViaService):
it can't use the key by itself, and reads nothing that the rest of its policy does not allow.

Sources, as read on 2026-11-30: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
(producers: GenerateDataKey and Decrypt; consumers: Decrypt), and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html with "Authorizing use of your KMS
key" (the principal that selects the key needs the six permissions of `_SELECTS`; each connection decrypts the key of its table).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from chaski_aws.iam.permissions import Role, actions_of

_SENDS = ("kms:Decrypt", "kms:GenerateDataKey")
_READS = ("kms:Decrypt",)
_SELECTS = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
)


def key_statements(role: Role, keys: Sequence[str], partition: str) -> list[dict[str, Any]]:
    """What a role may do with keys: one statement for each service that uses them; none without keys.

    Args:
        role: whose policy it is.
        keys: ARNs of KMS keys. KMS requires them in full.
        partition: aws, aws-cn, aws-us-gov.
    """
    if not keys:
        return []
    return [
        {
            "Sid": f"UseKeysOf{resources}",
            "Effect": "Allow",
            "Action": list(actions),
            "Resource": list(keys),
            "Condition": {"StringLike": {"kms:ViaService": _through(service, partition)}},
        }
        for service, resources, actions in _uses(role)
    ]


def _uses(role: Role) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Service, what its keys encrypt, and the actions, as they follow from the role's actions on SQS and DynamoDB."""
    actions = actions_of(role)
    if "sqs:SendMessage" in actions:
        yield "sqs", "Queues", _SENDS
    elif "sqs:ReceiveMessage" in actions:
        yield "sqs", "Queues", _READS
    if "dynamodb:CreateTable" in actions:
        yield "dynamodb", "Tables", _SELECTS
    elif any(action.startswith("dynamodb:") for action in actions):
        yield "dynamodb", "Tables", _READS


def _through(service: str, partition: str) -> list[str]:
    """Names of a service in all regions. Those of China end with .cn in some services."""
    name = f"{service}.*.amazonaws.com"
    return [name, f"{name}.cn"] if partition == "aws-cn" else [name]
