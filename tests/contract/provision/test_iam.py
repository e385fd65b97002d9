"""The IAM policies of the docs allow exactly the calls that are made."""

import json
from pathlib import Path
from typing import Any

from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import ProvisionSettings
from chaski_aws.provision.observe import observe
from chaski_aws.provision.plan import plan_drop
from support.operator.provisioning import Counted, provision, route_of

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "iam"
SETTINGS = ProvisionSettings("chaski")
ALSO = {
    "sqs:TagQueue",
    "dynamodb:TagResource",
    "dynamodb:UpdateTable",
}  # at drift only, and with CreateQueue, CreateTable


def allowed(name: str) -> set[str]:
    """The actions of a policy."""
    statements: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())["Statement"]
    actions = [each["Action"] for each in statements]
    return {action for each in actions for action in ([each] if isinstance(each, str) else each)}


def test_policies_of_other_components_allow_their_calls_only() -> None:
    """Workers change only messages and their own items; a reader writes nothing."""
    assert allowed("ingest") == {"sqs:SendMessage"}
    assert not {
        each
        for each in allowed("reader")
        if not each.startswith(("dynamodb:Get", "dynamodb:BatchGet", "dynamodb:Query"))
    }
    changes = {"dynamodb:PutItem", "dynamodb:DeleteItem", "sqs:ChangeMessageVisibility"}
    assert allowed("subjects") == allowed("reader") | changes
    assert {each for each in allowed("worker") if each.startswith("dynamodb:")} == {
        f"dynamodb:{action}Item" for action in ("Delete", "Get", "Put")
    } | {"dynamodb:Query"}
    assert allowed("console") == allowed("replayer") | {"sqs:GetQueueAttributes"}
    assert allowed("replayer") == allowed("reader") | {"sqs:SendMessage", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}


def test_the_provisioner_policy_matches_its_calls(aws: Counted) -> None:
    """Provisioned, given another map, dropped: the policy allows every operation that was called, and no other."""
    provision(aws, route_of())
    changed = route_of(queues=[{"name": "messages", "partitions": 1}])
    provision(aws, changed)
    apply(aws, plan_drop(changed, SETTINGS, observe(aws, changed, SETTINGS)))
    assert set(aws.called) | ALSO == allowed("provisioner")
