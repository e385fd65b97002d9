"""What each role may do with KMS keys, as the documentation of SQS and DynamoDB requires."""

import re
from pathlib import Path

import pytest

from chaski_aws.iam.keys import key_statements
from chaski_aws.iam.permissions import Role

KEYS = ("arn:aws:kms:eu-west-1:111122223333:key/a", "arn:aws:kms:eu-west-1:111122223333:key/b")
_DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "provisioning.md"


def actions(role: Role) -> dict[str, set[str]]:
    """The actions of a role by service."""
    statements = key_statements(role, KEYS, "aws")
    found = {each["Condition"]["StringLike"]["kms:ViaService"][0].partition(".")[0]: each for each in statements}
    assert all(each["Resource"] == list(KEYS) for each in statements)
    return {service: set(each["Action"]) for service, each in found.items()}


def documented() -> dict[str, dict[str, set[str]]]:
    """The table of the documentation, by role and service."""
    lines = [line for line in _DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ") and "`kms:" in line]
    found: dict[str, dict[str, set[str]]] = {}
    for line in lines:
        _, roles, *cells, _ = line.split("|")
        services = zip(("sqs", "dynamodb"), cells, strict=True)
        uses = {service: set(re.findall(r"kms:[\w*]+", cell)) for service, cell in services if cell.strip()}
        found |= dict.fromkeys(roles.strip().split(", "), uses)
    return found


@pytest.mark.parametrize("role", Role)
def test_each_role_has_the_actions_of_the_documentation(role: Role) -> None:
    """Readers only decrypt; nothing but the operator creates grants."""
    assert actions(role) == documented()[role.value]
    assert ("kms:CreateGrant" in str(actions(role))) is (role is Role.operator)


def test_a_key_is_used_through_its_service_only() -> None:
    """Also in China, whose services have another domain; without keys nothing is added."""
    (statement,) = key_statements(Role.ingest, KEYS, "aws-cn")
    assert statement["Condition"] == {
        "StringLike": {"kms:ViaService": ["sqs.*.amazonaws.com", "sqs.*.amazonaws.com.cn"]}
    }
    assert key_statements(Role.worker, (), "aws") == []
