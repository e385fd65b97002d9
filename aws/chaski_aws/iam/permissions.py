"""The actions that each role needs, by the type of their resource. Pure.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html and list_amazondynamodb.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a process does."""

    worker = "worker"
    replayer = "replayer"
    reader = "reader"
    subjects = "subjects"
    ingest = "ingest"
    console = "console"
    operator = "operator"


class ResourceType(StrEnum):
    """Resource types of the Service Authorization Reference, and `*` for an action without one."""

    queue = "queue"
    table = "table"
    indexes = "index"
    every = "*"


@dataclass(frozen=True, slots=True)
class Permission:
    """Actions on resources of the same types."""

    sid: str
    actions: tuple[str, ...]
    types: tuple[ResourceType, ...]
    creates: bool = False  # the resource need not exist: its tags can't be a condition


_QUEUE, _TABLE, _INDEXED = (
    (ResourceType.queue,),
    (ResourceType.table,),
    (ResourceType.table, ResourceType.indexes),
)
_SEND = Permission("SendMessages", ("sqs:SendMessage",), _QUEUE)
_READ = ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query")
_READ_DEAD_LETTERS = Permission("ReadDeadLetters", _READ, _INDEXED)
_MARK_DEAD_LETTERS = Permission(
    "ReadAndMarkDeadLetters", tuple(sorted((*_READ, "dynamodb:DeleteItem", "dynamodb:UpdateItem"))), _INDEXED
)

PERMISSIONS: Mapping[Role, tuple[Permission, ...]] = {
    Role.ingest: (_SEND,),
    Role.worker: (
        Permission(
            "DeliverMessages",
            (
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
                "sqs:SendMessage",
            ),
            _QUEUE,
        ),
        Permission(
            "KeepDeadLetters",
            ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
            _TABLE,
        ),
    ),
    Role.reader: (_READ_DEAD_LETTERS,),
    Role.subjects: (
        Permission("ReadAndDecide", tuple(sorted((*_READ, "dynamodb:DeleteItem", "dynamodb:PutItem"))), _INDEXED),
        Permission("ShowHeads", ("sqs:ChangeMessageVisibility",), _QUEUE),
    ),
    Role.replayer: (_MARK_DEAD_LETTERS, _SEND),
    Role.console: (
        _MARK_DEAD_LETTERS,
        Permission("CountAndSendMessages", ("sqs:GetQueueAttributes", "sqs:SendMessage"), _QUEUE),
    ),
    Role.operator: (
        Permission("FindQueues", ("sqs:ListQueues",), (ResourceType.every,)),
        Permission(
            "CreateAndReadQueues",
            ("sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags", "sqs:TagQueue"),
            _QUEUE,
            creates=True,
        ),
        Permission("ChangeOwnQueues", ("sqs:DeleteQueue", "sqs:SetQueueAttributes"), _QUEUE),
        Permission(
            "CreateAndChangeTables",
            (
                "dynamodb:CreateTable",
                "dynamodb:DeleteTable",
                "dynamodb:DescribeContinuousBackups",
                "dynamodb:DescribeTable",
                "dynamodb:DescribeTimeToLive",
                "dynamodb:ListTagsOfResource",
                "dynamodb:TagResource",
                "dynamodb:UpdateContinuousBackups",
                "dynamodb:UpdateTable",
                "dynamodb:UpdateTimeToLive",
            ),
            _TABLE,
            creates=True,
        ),
    ),
}
"""The permissions of each role. A batch of SQS needs the permission of the single call, and TransactWriteItems that of
PutItem (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html)."""


def actions_of(role: Role) -> frozenset[str]:
    """All actions of a role."""
    return frozenset(action for each in PERMISSIONS[role] for action in each.actions)
