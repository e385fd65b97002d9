"""Policies that bind a role to namespaces: by the names of queues and tables, or by their tags. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_aws.iam.keys import key_statements
from chaski_aws.iam.permissions import PERMISSIONS, Permission, ResourceType, Role
from chaski_aws.names import namespace_prefix
from chaski_aws.provision.state import MANAGED_BY, MANAGED_BY_TAG, OWNER_TAG, ROUTE_TAG
from chaski_core.route.resolved import ResolvedRoute

_VERSION = "2012-10-17"
_EVERY_NAME = "chaski-*"
#: Session tag that EKS Pod Identity sets: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html
_NAMESPACE_OF_POD = "${aws:PrincipalTag/kubernetes-namespace}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the resources are."""

    partition: str = "aws"
    account: str = "*"
    region: str = "*"

    def arn(self, kind: ResourceType, name: str) -> str:
        """The ARN of a queue, a table or all indexes of a table."""
        if kind is ResourceType.queue:
            return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{name}"
        table = f"arn:{self.partition}:dynamodb:{self.region}:{self.account}:table/{name}"
        return f"{table}/index/*" if kind is ResourceType.indexes else table


@dataclass(frozen=True, slots=True)
class Scope:
    """The queues and tables that a policy allows."""

    queues: tuple[str, ...]  # names, which may contain *
    tables: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, str]]  # on the tags of what exists; empty: names suffice

    def names(self, kind: ResourceType) -> tuple[str, ...]:
        """The names of one type of resource."""
        return self.queues if kind is ResourceType.queue else self.tables


def scope_by_names(installation: str, namespaces: Sequence[str], earlier: Collection[ResolvedRoute] = ()) -> Scope:
    """The queues and tables of namespaces, by the prefix of their names; no tag and no service's support of tags matters.

    Args:
        installation: its name.
        namespaces: at least one.
        earlier: resolved routes; those of their queues and tables that an earlier release named are added by name.
    """
    prefixes = tuple(namespace_prefix(installation, each) for each in namespaces)
    routes = [each for each in earlier if each.route.namespace in namespaces]
    urls = {url for each in routes for named in each.queue_urls.values() for url in named}
    urls |= {rung.url for each in routes for rung in each.every_rung}
    tables = {each.dead_letter_table for each in routes if each.dead_letter_table is not None}
    patterns = tuple(f"{prefix}*" for prefix in prefixes)
    return Scope(
        (*patterns, *_without(prefixes, {url.rpartition("/")[2] for url in urls})),
        (*patterns, *_without(prefixes, tables)),
        {},
    )


def _without(prefixes: tuple[str, ...], names: Collection[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith(prefixes))


def scope_by_tags(installation: str) -> Scope:
    """The queues and tables of the namespace that a Pod runs in, by its session tags: one policy for all namespaces.

    Names of earlier releases are included. Where an account has ABAC of DynamoDB turned off, tables are denied
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/abac-enable-ddb.html).
    """
    own = _tag_conditions(installation) | {"StringLike": {f"aws:ResourceTag/{ROUTE_TAG}": f"{_NAMESPACE_OF_POD}/*"}}
    return Scope((_EVERY_NAME,), (_EVERY_NAME,), own)


def scope_of_installation(installation: str) -> Scope:
    """All queues and tables of an installation, for what serves all its namespaces: ingest, console, operator."""
    return Scope((_EVERY_NAME,), (_EVERY_NAME,), _tag_conditions(installation))


def _tag_conditions(installation: str) -> dict[str, Mapping[str, str]]:
    return {
        "StringEquals": {
            f"aws:ResourceTag/{MANAGED_BY_TAG}": MANAGED_BY,
            f"aws:ResourceTag/{OWNER_TAG}": installation,
        }
    }


def policy_of(role: Role, scope: Scope, place: Place, keys: Sequence[str] = ()) -> dict[str, Any]:
    """The policy document of a role; `keys`: ARNs of the KMS keys of its queues and tables."""
    statements = [_statement(each, scope, place) for each in PERMISSIONS[role]]
    return {"Version": _VERSION, "Statement": [*statements, *key_statements(role, keys, place.partition)]}


def _statement(permission: Permission, scope: Scope, place: Place) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": permission.sid, "Effect": "Allow", "Action": list(permission.actions)}
    if permission.types == (ResourceType.every,):
        return statement | {"Resource": "*"}
    statement["Resource"] = [place.arn(kind, name) for kind in permission.types for name in scope.names(kind)]
    if scope.conditions and not permission.creates:
        statement["Condition"] = {operator: dict(keys) for operator, keys in scope.conditions.items()}
    return statement
