"""What has to be done to the table. Pure. Keys and existing indexes of a table can't be changed; all else can."""

from collections.abc import Iterator, Mapping
from typing import Any

from chaski_aws.dynamodb.marks import TTL_ATTRIBUTE
from chaski_aws.dynamodb.table import time_to_live
from chaski_aws.provision.actions import Action, Drift
from chaski_aws.provision.desired import DesiredTable
from chaski_aws.provision.errors import Problem, ProvisionError, problem_of
from chaski_aws.provision.state import ObservedTable

_ON_DEMAND = "PAY_PER_REQUEST"
_ENABLED = ("ENABLED", "ENABLING")


def plan_table_now(wanted: DesiredTable, there: ObservedTable | None) -> Iterator[Action]:
    """Makes the table, or what differs of it.

    Raises:
        ProvisionError: it can't become what it must be; or not now, then it says when to try again.
    """
    if there is None:
        tags = [{"Key": key, "Value": value} for key, value in wanted.tags.items()]
        request = {**wanted.definition, "DeletionProtectionEnabled": wanted.deletion_protection, "Tags": tags}
        yield Action("dynamodb", "CreateTable", wanted.name, request, "make the table")
        return
    if there.status == "DELETING" or (there.status == "CREATING" and there.tags == {}):
        raise _not_now(there)
    _check_keys(wanted, there)
    yield from _tag(wanted, there)
    yield from _alter(wanted, there)


def plan_table_late(wanted: DesiredTable, there: ObservedTable | None) -> Iterator[Action]:
    """What DynamoDB does only to a table that is active: expiry and backups.

    Raises:
        ProvisionError: expiry goes by another attribute.
    """
    description = there.time_to_live if there is not None else {}
    status, attribute = description.get("TimeToLiveStatus"), description.get("AttributeName", TTL_ATTRIBUTE)
    if status in _ENABLED and attribute != TTL_ATTRIBUTE:
        reason = f"items expire by {attribute}, not by {TTL_ATTRIBUTE}"
        raise _refused(
            wanted.name, "UpdateTimeToLive", reason, "turn TimeToLive off, and provision again an hour later"
        )
    if status not in _ENABLED:
        drift = () if there is None else (Drift("TimeToLive", str(status or ""), TTL_ATTRIBUTE),)
        yield Action("dynamodb", "UpdateTimeToLive", wanted.name, time_to_live(wanted.name), "let items expire", drift)
    if wanted.point_in_time_recovery and (there is None or there.point_in_time_recovery is False):
        request = {
            "TableName": wanted.name,
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        }
        drift = () if there is None else (Drift("PointInTimeRecovery", "false", "true"),)
        yield Action("dynamodb", "UpdateContinuousBackups", wanted.name, request, "keep backups", drift)


def plan_table_drop(there: ObservedTable) -> Iterator[Action]:
    """Deletes the table, dead letters included."""
    if there.status == "DELETING":
        return
    if there.protected:
        request: dict[str, Any] = {"TableName": there.name, "DeletionProtectionEnabled": False}
        yield Action("dynamodb", "UpdateTable", there.name, request, "take its protection away")
    yield Action("dynamodb", "DeleteTable", there.name, {"TableName": there.name}, "delete")


def _tag(wanted: DesiredTable, there: ObservedTable) -> Iterator[Action]:
    tags = there.tags
    if tags is None:
        return
    missing = {key: value for key, value in wanted.tags.items() if tags.get(key) != value}
    if missing:
        request = {
            "ResourceArn": there.arn,
            "Tags": [{"Key": key, "Value": value} for key, value in missing.items()],
        }
        drift = tuple(Drift(f"tag {key}", tags.get(key, ""), value) for key, value in missing.items())
        yield Action("dynamodb", "TagResource", wanted.name, request, "tag", drift)


def _alter(wanted: DesiredTable, there: ObservedTable) -> Iterator[Action]:
    mode = there.description.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if mode != _ON_DEMAND:
        request = {"TableName": wanted.name, "BillingMode": _ON_DEMAND}
        yield _update(wanted.name, request, "bill by use", Drift("BillingMode", mode, _ON_DEMAND))
    if wanted.deletion_protection and not there.protected:
        drift = Drift("DeletionProtectionEnabled", "false", "true")
        protected = {"TableName": wanted.name, "DeletionProtectionEnabled": True}
        yield _update(wanted.name, protected, "protect from deletion", drift)
    known = {index["IndexName"] for index in there.description.get("GlobalSecondaryIndexes", ())}
    for index in wanted.definition["GlobalSecondaryIndexes"]:
        if index["IndexName"] not in known:
            added = {
                "TableName": wanted.name,
                "AttributeDefinitions": _attributes(wanted, index),
                "GlobalSecondaryIndexUpdates": [{"Create": index}],
            }
            yield _update(wanted.name, added, "make an index", Drift(f"index {index['IndexName']}", "", "present"))


def _update(name: str, request: Mapping[str, Any], told: str, drift: Drift) -> Action:
    return Action("dynamodb", "UpdateTable", name, request, told, (drift,))


def _attributes(wanted: DesiredTable, index: Mapping[str, Any]) -> list[Mapping[str, str]]:
    names = {key["AttributeName"] for key in (*wanted.definition["KeySchema"], *index["KeySchema"])}
    return [each for each in wanted.definition["AttributeDefinitions"] if each["AttributeName"] in names]


def _check_keys(wanted: DesiredTable, there: ObservedTable) -> None:
    if there.description.get("KeySchema") != wanted.definition["KeySchema"]:
        raise _other_keys(wanted.name, "its key")
    known = {index["IndexName"]: index for index in there.description.get("GlobalSecondaryIndexes", ())}
    for index in wanted.definition["GlobalSecondaryIndexes"]:
        found = known.get(index["IndexName"])
        if found is not None and found["KeySchema"] != index["KeySchema"]:
            raise _other_keys(wanted.name, f"the key of its index {index['IndexName']}")


def _other_keys(name: str, what: str) -> ProvisionError:
    fix = "export its dead letters, delete the table by hand, and provision again"
    return _refused(name, "UpdateTable", f"{what} is not what this release needs, and keys can't be changed", fix)


def _refused(name: str, operation: str, reason: str, fix: str) -> ProvisionError:
    return ProvisionError(Problem("dynamodb", operation, name, "WrongTable", reason, None, fix))


def _not_now(there: ObservedTable) -> ProvisionError:
    reason = f"the table is {there.status}"
    return ProvisionError(problem_of("dynamodb", "DescribeTable", there.name, "TableNotActive", reason))
