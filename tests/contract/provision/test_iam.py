"""The IAM policies of the docs allow what is called, and nothing that is not."""

import json
from pathlib import Path
from typing import Any

from chaski_aws.provision.apply import apply
from chaski_aws.provision.observe import survey
from chaski_aws.provision.plan import plan_drop
from chaski_aws.provision.settings import ProvisionSettings
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


def test_policies_of_others_hold_what_their_parts_call() -> None:
    """Workers change nothing but messages and their own items; whoever only reads writes nothing."""
    assert allowed("ingest") == {"sqs:SendMessage"}
    assert not {
        each
        for each in allowed("reader")
        if not each.startswith(("dynamodb:Get", "dynamodb:BatchGet", "dynamodb:Query"))
    }
    assert allowed("console") == allowed("replayer") | {"sqs:GetQueueAttributes"}
    assert allowed("replayer") == allowed("reader") | {"sqs:SendMessage", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}


def test_the_provisioner_may_do_what_it_does_and_no_more(aws: Counted) -> None:
    """Made, given another map, dropped: every operation that was called is in the policy, and all of the policy is used."""
    provision(aws, route_of())
    changed = route_of(queues=[{"name": "messages", "partitions": 1}])
    provision(aws, changed)
    apply(aws, plan_drop(changed, SETTINGS, survey(aws, changed, SETTINGS)))
    assert set(aws.called) | ALSO == allowed("provisioner")
