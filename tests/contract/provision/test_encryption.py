"""KMS keys of queues and tables: declared by route or installation, kept where none is declared, turned off in two calls."""

from collections.abc import Mapping
from typing import Any

import pytest

from chaski_aws import names
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.observe import observe, observe_queues, observe_table
from chaski_aws.provision.plan import plan
from chaski_aws.provision.state import Observed, ObservedTable
from chaski_aws.provision.table_plan import plan_table
from chaski_core.route.model import Route
from support.operator.provisioning import Counted, Killed, provision, route_of

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = "arn:aws:kms:us-east-1:123456789012:key/99999999-12ab-34cd-56ef-1234567890ab"
MORE_PARTITIONS = [{"name": "urgent", "subjects": ["u_*"]}, {"name": "messages", "partitions": 3}]
OWN = ("", "true")


def encryption(aws: Counted) -> dict[str, tuple[str, str]]:
    """The KMS key of every queue, and whether SQS's own keys are used."""
    listed = aws.aws.call("sqs", "ListQueues", {}).get("QueueUrls", [])
    found = observe_queues(aws.aws, [url.rpartition("/")[2] for url in listed])
    return {
        name: (queue.attributes.get("KmsMasterKeyId", ""), queue.attributes.get("SqsManagedSseEnabled", ""))
        for name, queue in found.items()
    }


def table_key(aws: Counted) -> str:
    """The key of the only table; "": DynamoDB's own."""
    (name,) = aws.aws.call("dynamodb", "ListTables", {})["TableNames"]
    table = observe_table(aws.aws, name)
    assert table is not None
    return str((table.description.get("SSEDescription") or {}).get("KMSMasterKeyArn", ""))


def with_key(key: str, **spec: Any) -> Route:
    """A route that declares a key."""
    return route_of(encryption={"kmsKeyArn": key}, **spec)


def test_a_key_that_was_given_by_the_command_is_kept_and_spreads_to_new_queues(aws: Counted) -> None:
    """The operator, without a key of its own, weakens nothing: neither what exists nor a new generation."""
    provision(aws, route_of(), ProvisionSettings("chaski", kms_key=KEY))
    assert set(encryption(aws).values()) == {(KEY, "false")}
    assert table_key(aws) == KEY
    aws.writes.clear()
    provision(aws, route_of())
    assert aws.writes == []
    provision(aws, route_of(queues=MORE_PARTITIONS))
    assert len(encryption(aws)) == 9
    assert set(encryption(aws).values()) == {(KEY, "false")}


def test_a_key_of_any_form_is_kept_on_queues(aws: Counted) -> None:
    """An alias, which DynamoDB would show as another text, applies to queues only."""
    provision(aws, route_of(), ProvisionSettings("chaski", kms_key="alias/company-key"))
    assert set(encryption(aws).values()) == {("alias/company-key", "false")}
    assert table_key(aws) == ""
    aws.writes.clear()
    provision(aws, route_of())
    assert aws.writes == []


def test_the_key_of_the_route_takes_precedence(aws: Counted) -> None:
    """Over that of the installation; a change applies to queues and table that exist."""
    settings = ProvisionSettings("chaski", kms_key=OTHER)
    provision(aws, with_key(KEY), settings)
    assert set(encryption(aws).values()) == {(KEY, "false")}
    assert table_key(aws) == KEY
    aws.writes.clear()
    provision(aws, with_key(KEY), settings)
    assert aws.writes == []
    provision(aws, route_of(), settings)
    assert set(encryption(aws).values()) == {(OTHER, "false")}
    assert ("UpdateTable", names.table_name(route_of(), "chaski")) in aws.writes


def calls(aws: Counted, route: Route, settings: ProvisionSettings) -> list[Mapping[str, Any]]:
    """The requests that a run would make."""
    observed = observe(aws, route, settings)
    return [each.request for each in plan(desired(route, observed, settings), observed)]


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed between the calls"])
def test_a_key_is_turned_off_in_two_calls(aws: Counted, killed: bool) -> None:
    """SQS refuses both kinds of encryption at a time; a run that ends between the calls is completed by the next."""
    settings = ProvisionSettings("chaski", kms_key=KEY)
    provision(aws, route_of(ordering="Strict", queues=[{"name": "m"}]), settings)
    off = with_key("", ordering="Strict", queues=[{"name": "m"}])
    table, removed, managed = calls(aws, off, settings)
    assert table["SSESpecification"] == {"Enabled": False}
    assert removed["Attributes"] == {"KmsMasterKeyId": ""}
    assert managed["Attributes"] == {"SqsManagedSseEnabled": "true"}
    if killed:
        aws.kill_at, aws.kill_after_the_call = len(aws.writes) + 1, True
        with pytest.raises(Killed):
            provision(aws, off, settings)
        aws.kill_at = None
        assert [each.get("Attributes") for each in calls(aws, off, settings)][-1] == managed["Attributes"]
    provision(aws, off, settings)
    assert set(encryption(aws).values()) == {OWN}


@pytest.mark.parametrize(
    ("described", "declared", "change"),
    [
        ({}, KEY, {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}),
        ({"Status": "ENABLED", "KMSMasterKeyArn": KEY}, KEY, None),
        ({"Status": "UPDATING", "KMSMasterKeyArn": KEY}, KEY, None),
        (
            {"Status": "ENABLED", "KMSMasterKeyArn": OTHER},
            KEY,
            {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY},
        ),
        ({"Status": "ENABLED", "KMSMasterKeyArn": OTHER}, None, None),
        ({"Status": "ENABLED", "KMSMasterKeyArn": OTHER}, "", {"Enabled": False}),
        ({"Status": "DISABLED"}, "", None),
        ({}, "", None),
    ],
)
def test_the_key_of_a_table_is_changed_only_where_one_is_declared(
    described: dict[str, str], declared: str | None, change: dict[str, Any] | None
) -> None:
    """As data: the emulator does not change the key of a table."""
    name = names.table_name(route_of(), "chaski")
    route = route_of() if declared is None else with_key(declared)
    wanted = desired(route, Observed(), ProvisionSettings("chaski")).table
    description = {
        **wanted.definition,
        "TableArn": "arn",
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "DeletionProtectionEnabled": True,
        "SSEDescription": described,
    }
    table = ObservedTable(name, "ACTIVE", description, wanted.tags, {}, True)
    requests = [each.request for each in plan_table(wanted, table)]
    expected = [] if change is None else [{"TableName": name, "SSESpecification": change}]
    assert requests == expected


def test_a_table_is_created_with_the_key() -> None:
    """By its ARN; without a key DynamoDB uses its own."""
    route = with_key(KEY)
    wanted = desired(route, Observed(), ProvisionSettings("chaski"))
    create = next(each for each in plan(wanted, Observed()) if each.operation == "CreateTable")
    assert create.request["SSESpecification"] == {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    plain = desired(route_of(), Observed(), ProvisionSettings("chaski"))
    create = next(each for each in plan(plain, Observed()) if each.operation == "CreateTable")
    assert "SSESpecification" not in create.request
