"""Policies judged by an independent evaluator: a role of one namespace can do nothing with what belongs to another."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import boto3
import pytest
from botocore.config import Config

from chaski_aws import names
from chaski_aws.iam.permissions import PERMISSIONS, ResourceType, Role, actions_of
from chaski_aws.iam.policies import Place, Scope, policy_of, scope_by_names, scope_by_tags, scope_of_installation
from chaski_aws.iam.trust import irsa_trust, pod_identity_trust
from chaski_core.route import resolved as earlier
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation, ResolvedRoute
from support.aws.iam_evaluator import Request, action_details, allowed, trusted
from support.aws.iam_table import rows
from support.operator.provisioning import route_of

pytestmark = [pytest.mark.landing, pytest.mark.promise(14)]

ACCOUNT = "111122223333"
PLACE = Place("aws", ACCOUNT, "eu-west-1")
OURS, OTHERS = "11111111-aaaa", "22222222-bbbb"
# `help`/`desk-orders` and `help-desk`/`orders` have the same name in earlier releases, but for the hash at its end.
A, B = route_of("desk-orders", "help"), route_of("orders", "help-desk")
ACTIONS = sorted({action for role in Role for action in actions_of(role)} - {"sqs:ListQueues"})
TENANT_ROLES = (Role.worker, Role.replayer, Role.reader, Role.subjects, Role.ingest, Role.console)


@dataclass(frozen=True)
class Owned:
    """The queues and the table of one route: ARNs by resource type, and their tags."""

    owner: str
    queues: tuple[str, ...]
    tables: tuple[str, ...]
    tags: dict[str, str]

    def requests(self, action: str) -> Iterator[tuple[str, str]]:
        """The resources that an action can name, by type."""
        if action.startswith("sqs:"):
            yield from (("queue", arn) for arn in self.queues)
            return
        yield from (("table", arn) for arn in self.tables)
        if action == "dynamodb:Query":
            yield from (("index", f"{arn}/index/by-subject") for arn in self.tables)


def owned(route: Route, installation: str, *, named_earlier: bool = False) -> Owned:
    """What a route has, under names of this release or of an earlier one."""
    if named_earlier:
        queues = [earlier.queue_name(route, "messages", 1, 0), earlier.rung_queue_name(route, "fast")]
        table = earlier.table_name(route)
    else:
        queues = [
            names.queue_name(route, installation, "messages", 1, 0),
            names.rung_queue_name(route, installation, "fast"),
        ]
        table = names.table_name(route, installation)
    tags = {"managed-by": "chaski", "owner": installation, "route": route.key}
    return Owned(
        installation,
        tuple(f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{name}" for name in queues),
        (f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/{table}",),
        {f"aws:ResourceTag/chaski.dev/{name}": value for name, value in tags.items()},
    )


def request(role: Role, action: str, resource: str, scope: Scope, tags: dict[str, str]) -> Request:
    """A call by a Pod of namespace `help`, with the session tags of Pod Identity."""
    session = {
        "aws:PrincipalTag/kubernetes-namespace": "help",
        "aws:PrincipalTag/kubernetes-service-account": "chaski-desk-orders",
    }
    principal = f"arn:aws:sts::{ACCOUNT}:assumed-role/chaski-{role.value}/pod"
    return Request(principal, action, resource, session | tags, [policy_of(role, scope, PLACE)])


def resolved_earlier(route: Route) -> ResolvedRoute:
    """The route as an earlier release resolved it."""
    url = f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/" + earlier.queue_name(route, "messages", 1, 0)
    rung = f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/" + earlier.rung_queue_name(route, "fast")
    return ResolvedRoute(
        route, (Generation(1, {"messages": (url, rung)}),), (), dead_letter_table=earlier.table_name(route)
    )


SCOPES = {
    "names": scope_by_names(OURS, ["help"]),
    "names, with those of earlier releases": scope_by_names(OURS, ["help"], [resolved_earlier(A), resolved_earlier(B)]),
    "tags": scope_by_tags(OURS),
}
OWN = {
    "names": [owned(A, OURS)],
    "names, with those of earlier releases": [owned(A, OURS), owned(A, OURS, named_earlier=True)],
    "tags": [owned(A, OURS), owned(A, OURS, named_earlier=True)],
}
FOREIGN = [
    owned(B, OURS),
    owned(B, OURS, named_earlier=True),
    owned(A, OTHERS),
    owned(B, OTHERS),
    # A namespace that is called like the beginning of a name of the other one.
    owned(route_of("orders", "help-desk-orders"), OURS),
]


def questions(by: str) -> list[tuple[tuple[str, Role, str, str], Request]]:
    """Every action of every role on what is its own and what is not: (own or foreign, role, action, type), and the request."""
    return [
        ((whose, role, action, kind), request(role, action, arn, SCOPES[by], each.tags))
        for role, action in product(TENANT_ROLES, ACTIONS)
        for whose, each in [("own", one) for one in OWN[by]] + [("foreign", one) for one in FOREIGN]
        for kind, arn in each.requests(action)
    ]


def is_needed(question: tuple[str, Role, str, str]) -> bool:
    """Whether the policy must allow it."""
    whose, role, action, kind = question
    return whose == "own" and any(action in each.actions and kind in each.types for each in PERMISSIONS[role])


def is_implied(question: tuple[str, Role, str, str]) -> bool:
    """Whether the policy may allow it besides: a pattern of names of tables also fits the ARNs of their indexes."""
    whose, role, action, kind = question
    return whose == "own" and kind == ResourceType.indexes and action in actions_of(role)


@pytest.mark.parametrize("by", SCOPES)
def test_a_role_of_one_namespace_does_nothing_with_what_belongs_to_another(
    by: str, record_property: Callable[[str, object], None]
) -> None:
    """Every action that Chaski knows, on queues, tables and indexes: own ones as the role needs, others never."""
    asked = questions(by)
    verdicts = allowed([each for _, each in asked])
    judged = [(question, verdict) for (question, _), verdict in zip(asked, verdicts, strict=True)]
    wrong = [each for each in judged if is_needed(each[0]) != each[1] and not (each[1] and is_implied(each[0]))]
    assert wrong == []
    counts = Counter((role.value, kind, whose, verdict) for (whose, role, _, kind), verdict in judged)
    for key, count in sorted(counts.items()):
        record_property(" ".join(map(str, key)), count)  # docs/threat-model.md has the sums
    assert not [key for key in counts if key[2:] == ("foreign", True)]
    assert {key[0] for key in counts if key[2:] == ("own", True)} == {role.value for role in TENANT_ROLES}


@pytest.mark.parametrize("by", SCOPES)
def test_aws_agrees(by: str) -> None:
    """The same questions to AWS's own simulator, with credentials that may call iam:SimulateCustomPolicy. Creates nothing."""
    if os.environ.get("CHASKI_TEST_AWS") != "1":
        pytest.skip("asks a real account only with CHASKI_TEST_AWS=1")
    client = boto3.client("iam", config=Config(retries={"mode": "adaptive", "total_max_attempts": 20}))
    wrong = []
    for question, each in questions(by):
        context = [
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for name, value in each.context.items()
        ]
        response = client.simulate_custom_policy(
            PolicyInputList=[json.dumps(policy) for policy in each.policies],
            ActionNames=[each.action],
            ResourceArns=[each.resource],
            ContextEntries=context,
        )
        if is_needed(question) != (response["EvaluationResults"][0]["EvalDecision"] == "allowed"):
            wrong.append((question, each.resource))
    assert wrong == []


READERS = (Role.reader, Role.subjects)
KMS_ACTIONS = (
    *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
    *("kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
    *("kms:ScheduleKeyDeletion", "kms:PutKeyPolicy", "kms:RevokeGrant"),
)


def test_a_role_uses_its_key_through_sqs_and_dynamodb_only() -> None:
    """Neither by itself nor through another service, and no other key."""
    own, other = (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{name * 8}-12ab-34cd-56ef-1234567890ab" for name in "ab")
    services = {service: {"kms:ViaService": f"{service}.eu-west-1.amazonaws.com"} for service in ("sqs", "dynamodb")}
    ways = [(own, "sqs"), (own, "dynamodb"), (own, "s3"), (own, ""), (other, "sqs"), (other, "dynamodb")]
    services |= {"s3": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}, "": {}}
    account = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    key_policy = {"Version": "2012-10-17", "Statement": [account]}  # IAM policies decide
    asked = []
    for role, (key, service), action in product((*TENANT_ROLES, Role.operator), ways, KMS_ACTIONS):
        policy = policy_of(role, SCOPES["names"], PLACE, [own])
        principal = f"arn:aws:sts::{ACCOUNT}:assumed-role/chaski-{role.value}/pod"
        asked_for = Request(principal, action, key, services[service], [policy], trust=key_policy)
        asked.append(((role, key, service, action), asked_for))
    verdicts = allowed([each for _, each in asked])
    found = {question for (question, _), verdict in zip(asked, verdicts, strict=True) if verdict}
    sends = {"kms:Decrypt", "kms:GenerateDataKey"}
    expected = {(role, own, "sqs", each) for role in TENANT_ROLES for each in sends if role not in READERS}
    expected |= {(role, own, "dynamodb", "kms:Decrypt") for role in TENANT_ROLES if role is not Role.ingest}
    assert found == expected | {(Role.operator, own, "dynamodb", each) for each in KMS_ACTIONS[:8]}


def test_without_session_tags_or_abac_a_policy_by_tags_allows_nothing() -> None:
    """IRSA sets no session tags; an account without ABAC of DynamoDB shows no tags of tables."""
    asked = []
    for role, action in product((Role.worker, Role.replayer, Role.reader), ACTIONS):
        for _, arn in owned(A, OURS).requests(action):
            with_session = request(role, action, arn, SCOPES["tags"], {})
            asked.append(with_session)
            asked.append(Request(with_session.principal, action, arn, owned(A, OURS).tags, with_session.policies))
    assert not any(allowed(asked))


@pytest.mark.parametrize("role", [Role.ingest, Role.console])
def test_ingest_and_console_of_an_installation_reach_all_its_namespaces_and_no_other_installation(role: Role) -> None:
    """They are trusted across namespaces, but two clusters may share an account."""
    scope = scope_of_installation(OURS)
    for each, expected in (
        (owned(A, OURS), True),
        (owned(B, OURS, named_earlier=True), True),
        (owned(A, OTHERS), False),
    ):
        requests = [
            request(role, action, arn, scope, each.tags)
            for action in sorted(actions_of(role))
            for _, arn in each.requests(action)
        ]
        assert set(allowed(requests)) == {expected}


def test_an_operator_of_one_namespace_creates_changes_and_deletes_there_only() -> None:
    """As with `watchNamespaces`: all of its actions on its own names, none on others."""
    scope = scope_by_names(OURS, ["help"])
    for each, expected in ((owned(A, OURS), True), *((one, False) for one in FOREIGN)):
        requests = [
            request(Role.operator, action, arn, scope, each.tags)
            for action in sorted(actions_of(Role.operator) - {"sqs:ListQueues"})
            for _, arn in each.requests(action)
        ]
        assert set(allowed(requests)) == {expected}
    assert allowed([request(Role.operator, "sqs:ListQueues", "*", scope, {})]) == [True]


def test_the_operator_of_an_installation_changes_no_queue_of_another() -> None:
    """Queues that don't carry its tags."""
    scope = scope_of_installation(OURS)
    for each, expected in ((owned(A, OURS), True), (owned(A, OTHERS), False)):
        requests = [
            request(Role.operator, action, arn, scope, each.tags)
            for action in ("sqs:DeleteQueue", "sqs:SetQueueAttributes")
            for _, arn in each.requests(action)
        ]
        assert set(allowed(requests)) == {expected}


def test_resource_types_and_condition_keys_are_those_of_aws() -> None:
    """The table in docs/iam/actions.md, and the types that the policies name, by AWS's Service Authorization Reference."""
    details = action_details(sorted(rows()))
    for action, (_, types, keys) in rows().items():
        found = details[action]
        named = [kind for kind in types.split(", ") if kind != "*"]
        assert found["wildcardOnly"] == (named == [])
        assert set(named) <= set(found["types"])
        assert set(found["required"]) - {"stream"} <= set(named)  # TagResource takes a table or a stream
        expected = {key for kind in named for key in found["types"][kind]} | set(found["conditionKeys"])
        assert set(keys.split(", ")) - {"none"} == expected, action


@pytest.mark.parametrize(
    ("role", "account", "namespace", "expected"),
    [
        (Role.worker, "chaski-orders", "help", True),
        (Role.worker, "chaski-orders", "help-desk", False),
        (Role.worker, "default", "help", False),
        (Role.replayer, "chaski-orders.replay", "help", True),
        (Role.replayer, "chaski-orders.replay", "evil", False),
        (Role.replayer, "chaski-orders", "help", False),
    ],
)
def test_a_role_trusts_service_accounts_of_its_namespace_only(
    role: Role, account: str, namespace: str, expected: bool
) -> None:
    """By Pod Identity and by IRSA; with Pod Identity of this cluster only."""
    arn = f"arn:aws:iam::{ACCOUNT}:role/chaski"
    provider = "cognito-identity.amazonaws.com"  # the evaluator knows the condition keys of no provider of a cluster
    oidc = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"
    claims = {f"{provider}:aud": "sts.amazonaws.com", f"{provider}:sub": f"system:serviceaccount:{namespace}:{account}"}
    irsa = irsa_trust(role, ACCOUNT, provider, "help")
    assert trusted([Request(oidc, "sts:AssumeRoleWithWebIdentity", arn, claims, trust=irsa)]) == [expected]
    pod_identity = pod_identity_trust(role, ACCOUNT, "production", "help")
    clusters = [("production", expected), ("staging", False)]
    for cluster, trusts in clusters:
        tags = {
            "eks-cluster-name": cluster,
            "kubernetes-namespace": namespace,
            "kubernetes-service-account": account,
        }
        context = {f"aws:RequestTag/{name}": value for name, value in tags.items()} | {"aws:SourceAccount": ACCOUNT}
        request_ = Request("pods.eks.amazonaws.com", "sts:AssumeRole", arn, context, trust=pod_identity)
        assert allowed([request_]) == [trusts]
