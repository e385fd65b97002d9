"""Plans the changes of a route's table. Pure. Keys and existing indexes of a table can't be changed; all else can."""

from collections.abc import Iterator, Mapping
from typing import Any

from chaski_aws.dynamodb.table import TTL_ATTRIBUTE, time_to_live
from chaski_aws.provision.actions import Action, Drift
from chaski_aws.provision.desired import DesiredTable
from chaski_aws.provision.errors import ProvisionError, ProvisionFailure, failure_of
from chaski_aws.provision.state import ObservedTable

_ON_DEMAND = "PAY_PER_REQUEST"
_ENABLED = ("ENABLED", "ENABLING")
_ENCRYPTED = ("ENABLED", "ENABLING", "UPDATING")


def plan_table(wanted: DesiredTable, found: ObservedTable | None) -> Iterator[Action]:
    """Creates the table, or changes what differs.

    Raises:
        ProvisionError: the table can't be changed to the desired state, or not yet (`retry_after_seconds`).
    """
    if found is None:
        tags = [{"Key": key, "Value": value} for key, value in wanted.tags.items()]
        request = {**wanted.definition, "DeletionProtectionEnabled": wanted.deletion_protection, "Tags": tags}
        if wanted.kms_key:
            request["SSESpecification"] = _encryption(wanted.kms_key)
        yield Action("dynamodb", "CreateTable", wanted.name, request, "create the table")
        return
    if found.status == "DELETING" or (found.status == "CREATING" and found.tags == {}):
        raise _not_now(found)
    _check_keys(wanted, found)
    yield from _tag(wanted, found)
    yield from _alter(wanted, found)


def plan_active_table(wanted: DesiredTable, found: ObservedTable | None) -> Iterator[Action]:
    """Enables what DynamoDB accepts only for an active table: expiry and backups.

    Raises:
        ProvisionError: items expire by another attribute.
    """
    description = found.time_to_live if found is not None else {}
    status, attribute = description.get("TimeToLiveStatus"), description.get("AttributeName", TTL_ATTRIBUTE)
    if status in _ENABLED and attribute != TTL_ATTRIBUTE:
        reason = f"items expire by {attribute}, not by {TTL_ATTRIBUTE}"
        raise _refused(wanted.name, "UpdateTimeToLive", reason, "disable TimeToLive, and provision again an hour later")
    if status not in _ENABLED:
        drift = () if found is None else (Drift("TimeToLive", str(status or ""), TTL_ATTRIBUTE),)
        yield Action("dynamodb", "UpdateTimeToLive", wanted.name, time_to_live(wanted.name), "enable expiry", drift)
    if wanted.point_in_time_recovery and (found is None or found.point_in_time_recovery is False):
        request = {
            "TableName": wanted.name,
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        }
        drift = () if found is None else (Drift("PointInTimeRecovery", "false", "true"),)
        yield Action("dynamodb", "UpdateContinuousBackups", wanted.name, request, "enable backups", drift)


def plan_table_deletion(found: ObservedTable) -> Iterator[Action]:
    """Deletes the table, dead letters included."""
    if found.status == "DELETING":
        return
    if found.protected:
        request: dict[str, Any] = {"TableName": found.name, "DeletionProtectionEnabled": False}
        yield Action("dynamodb", "UpdateTable", found.name, request, "disable deletion protection")
    yield Action("dynamodb", "DeleteTable", found.name, {"TableName": found.name}, "delete")


def _tag(wanted: DesiredTable, found: ObservedTable) -> Iterator[Action]:
    tags = found.tags
    if tags is None:
        return
    missing = {key: value for key, value in wanted.tags.items() if tags.get(key) != value}
    if missing:
        request = {
            "ResourceArn": found.arn,
            "Tags": [{"Key": key, "Value": value} for key, value in missing.items()],
        }
        drift = tuple(Drift(f"tag {key}", tags.get(key, ""), value) for key, value in missing.items())
        yield Action("dynamodb", "TagResource", wanted.name, request, "tag", drift)


def _alter(wanted: DesiredTable, found: ObservedTable) -> Iterator[Action]:
    mode = found.description.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if mode != _ON_DEMAND:
        request = {"TableName": wanted.name, "BillingMode": _ON_DEMAND}
        yield _update(wanted.name, request, "bill on demand", Drift("BillingMode", mode, _ON_DEMAND))
    if wanted.deletion_protection and not found.protected:
        drift = Drift("DeletionProtectionEnabled", "false", "true")
        protected = {"TableName": wanted.name, "DeletionProtectionEnabled": True}
        yield _update(wanted.name, protected, "enable deletion protection", drift)
    key = _key_of(found)
    if wanted.kms_key is not None and wanted.kms_key != key:
        encrypted = {"TableName": wanted.name, "SSESpecification": _encryption(wanted.kms_key)}
        yield _update(wanted.name, encrypted, "change the encryption key", Drift("KMSMasterKeyId", key, wanted.kms_key))
    existing = {index["IndexName"] for index in found.description.get("GlobalSecondaryIndexes", ())}
    for index in wanted.definition["GlobalSecondaryIndexes"]:
        if index["IndexName"] not in existing:
            added = {
                "TableName": wanted.name,
                "AttributeDefinitions": _attributes(wanted, index),
                "GlobalSecondaryIndexUpdates": [{"Create": index}],
            }
            yield _update(wanted.name, added, "create an index", Drift(f"index {index['IndexName']}", "", "present"))


def _encryption(key: str) -> dict[str, Any]:
    """SSESpecification: a key of the account, or DynamoDB's own (API_SSESpecification: `Enabled` false)."""
    return {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key} if key else {"Enabled": False}


def _key_of(found: ObservedTable) -> str:
    described = found.description.get("SSEDescription") or {}
    return str(described.get("KMSMasterKeyArn", "")) if described.get("Status") in _ENCRYPTED else ""


def _update(name: str, request: Mapping[str, Any], description: str, drift: Drift) -> Action:
    return Action("dynamodb", "UpdateTable", name, request, description, (drift,))


def _attributes(wanted: DesiredTable, index: Mapping[str, Any]) -> list[Mapping[str, str]]:
    names = {key["AttributeName"] for key in (*wanted.definition["KeySchema"], *index["KeySchema"])}
    return [each for each in wanted.definition["AttributeDefinitions"] if each["AttributeName"] in names]


def _check_keys(wanted: DesiredTable, found: ObservedTable) -> None:
    if found.description.get("KeySchema") != wanted.definition["KeySchema"]:
        raise _other_keys(wanted.name, "its primary key")
    existing = {index["IndexName"]: index for index in found.description.get("GlobalSecondaryIndexes", ())}
    for index in wanted.definition["GlobalSecondaryIndexes"]:
        other = existing.get(index["IndexName"])
        if other is not None and other["KeySchema"] != index["KeySchema"]:
            raise _other_keys(wanted.name, f"the key of its index {index['IndexName']}")


def _other_keys(name: str, what: str) -> ProvisionError:
    fix = "export its dead letters, delete the table by hand, and provision again"
    return _refused(name, "UpdateTable", f"{what} is not what this release needs, and keys can't be changed", fix)


def _refused(name: str, operation: str, reason: str, fix: str) -> ProvisionError:
    return ProvisionError(ProvisionFailure("dynamodb", operation, name, "WrongTable", reason, None, fix))


def _not_now(found: ObservedTable) -> ProvisionError:
    reason = f"the table is {found.status}"
    return ProvisionError(failure_of("dynamodb", "DescribeTable", found.name, "TableNotActive", reason))
