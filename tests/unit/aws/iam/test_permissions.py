"""The table of actions in docs/iam/actions.md, the actions that the code calls, and the permissions of the roles are the same."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from chaski_aws.iam.permissions import PERMISSIONS, ResourceType, actions_of
from support.aws.iam_table import rows

ROOT = Path(__file__).resolve().parents[4]
PARTS = ("aws", "cli", "console", "ingest", "operator", "replay", "runtime", "worker")
# The permission that a call needs, where it has another name.
PERMISSION_OF = {
    "sqs:SendMessageBatch": ["sqs:SendMessage"],
    "sqs:DeleteMessageBatch": ["sqs:DeleteMessage"],
    "sqs:ChangeMessageVisibilityBatch": ["sqs:ChangeMessageVisibility"],
    "dynamodb:TransactWriteItems": ["dynamodb:PutItem"],  # of two Put: aws/chaski_aws/dynamodb/requests.py
    "sqs:CreateQueue": ["sqs:CreateQueue", "sqs:TagQueue"],  # with tags
    "dynamodb:CreateTable": ["dynamodb:CreateTable", "dynamodb:TagResource"],
}
CALLS = ("call", "_call_batch", "Action")
OPERATION = re.compile(r"[A-Z][A-Za-z]+")


def called(file: Path) -> Iterator[str]:
    """The actions whose names are arguments of calls in a module: service:Operation."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if name not in CALLS or not texts:
            continue
        folder = "dynamodb" if "dynamodb" in file.parts else file.parent.name  # chaski_aws/sqs, chaski_aws/dynamodb
        service = texts[0] if texts[0] in ("sqs", "dynamodb") else folder
        assert OPERATION.fullmatch(texts[-1]), (file, texts)
        yield f"{service}:{texts[-1]}"


def test_the_permissions_are_those_of_the_calls_in_the_code() -> None:
    """A new call of AWS needs a permission, and a call that is removed takes its permission with it."""
    calls = {each for part in PARTS for file in (ROOT / part).rglob("*.py") for each in called(file)}
    needed = {permission for call in calls for permission in PERMISSION_OF.get(call, [call])}
    assert len(calls) > 20
    assert needed == {action for role in PERMISSIONS for action in actions_of(role)}


def test_the_table_has_each_action_with_its_roles_and_resource_types() -> None:
    """The evaluator's test compares resource types and condition keys with AWS's own list."""
    expected = {
        action: [
            ", ".join(role.value for role in PERMISSIONS if action in actions_of(role)),
            ", ".join(
                sorted(
                    {
                        kind.value
                        for permissions in PERMISSIONS.values()
                        for each in permissions
                        if action in each.actions
                        for kind in each.types
                        if kind is not ResourceType.indexes or action == "dynamodb:Query"
                    },
                    reverse=True,
                )
            ),
        ]
        for role in PERMISSIONS
        for action in actions_of(role)
    }
    assert {action: row[:2] for action, row in rows().items()} == expected
