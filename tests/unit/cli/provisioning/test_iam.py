"""`chaski iam policy` and `chaski iam trust`: what they print, and the options that they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaski_aws.names import namespace_prefix
from chaski_cli.provisioning.iam import PolicyOptions, TrustOptions, run_policy, run_trust
from chaski_runtime.process.command_error import CommandError


def policy(
    role: str = "worker",
    *namespaces: str,
    installation: str = "uid",
    by_tags: bool = False,
    resolved: tuple[Path, ...] = (),
    kms_keys: tuple[str, ...] = (),
    place: tuple[str, str, str] = ("aws", "111122223333", "eu-west-1"),
) -> None:
    """Prints a policy."""
    run_policy(PolicyOptions(role, namespaces, installation, by_tags, resolved, kms_keys), *place)


def trust(
    role: str = "worker", namespace: str = "", cluster: str = "", provider: str = "", account: str = "111122223333"
) -> None:
    """Prints a trust policy."""
    run_trust(TrustOptions(role, namespace, cluster, provider, account, "aws"))


def resources(text: str) -> list[str]:
    """All ARNs of a policy."""
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return [arn for each in statements for arn in each["Resource"]]


def test_a_policy_by_name_has_the_prefix_of_its_namespaces_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Queues, the table, and for a replayer the indexes of the table."""
    policy("replayer", "help", "team-b")
    prefixes = [namespace_prefix("uid", each) for each in ("help", "team-b")]
    table = [f"arn:aws:dynamodb:eu-west-1:111122223333:table/{prefix}*" for prefix in prefixes]
    queues = [f"arn:aws:sqs:eu-west-1:111122223333:{prefix}*" for prefix in prefixes]
    assert resources(capsys.readouterr().out) == [*table, *(f"{each}/index/*" for each in table), *queues]


def test_a_policy_by_tags_compares_the_namespace_of_the_pod(capsys: pytest.CaptureFixture[str]) -> None:
    """And the installation, since another cluster may have a namespace of that name."""
    policy(by_tags=True)
    for each in json.loads(capsys.readouterr().out)["Statement"]:
        assert each["Condition"] == {
            "StringEquals": {
                "aws:ResourceTag/chaski.dev/managed-by": "chaski",
                "aws:ResourceTag/chaski.dev/owner": "uid",
            },
            "StringLike": {"aws:ResourceTag/chaski.dev/route": "${aws:PrincipalTag/kubernetes-namespace}/*"},
        }


KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_keys_are_added_to_the_end_of_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """The rest of it stays as it is without them."""
    policy("worker", "help")
    plain = json.loads(capsys.readouterr().out)["Statement"]
    policy("worker", "help", kms_keys=(KEY,))
    assert json.loads(capsys.readouterr().out)["Statement"] == [
        *plain,
        {
            "Sid": "UseKeysOfQueues",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": [KEY],
            "Condition": {"StringLike": {"kms:ViaService": ["sqs.*.amazonaws.com"]}},
        },
        {
            "Sid": "UseKeysOfTables",
            "Effect": "Allow",
            "Action": ["kms:Decrypt"],
            "Resource": [KEY],
            "Condition": {"StringLike": {"kms:ViaService": ["dynamodb.*.amazonaws.com"]}},
        },
    ]


REFUSED: dict[str, tuple[Callable[[], None], str]] = {
    "no namespace": (policy, "--namespace is missing"),
    "a pattern of namespaces": (lambda: policy("worker", "*"), "--namespace"),
    "no installation": (lambda: policy("worker", "a", installation=""), "--installation is missing"),
    "an installation that is a variable": (lambda: policy(by_tags=True, installation="${aws:x}"), "--installation"),
    "tags of ingest": (lambda: policy("ingest", by_tags=True), "--by tags"),
    "tags and a namespace": (lambda: policy("worker", "a", by_tags=True), "--by tags"),
    "a file without routes": (lambda: policy("worker", "a", resolved=(Path("/dev/null"),)), "no resolved route"),
    "an alias of a key": (
        lambda: policy("worker", "a", kms_keys=("arn:aws:kms:eu-west-1:111122223333:alias/company",)),
        "--kms-key: .*not of an alias",
    ),
    "every key": (lambda: policy("worker", "a", kms_keys=("*",)), "--kms-key"),
    "an account": (lambda: policy("worker", "a", place=("aws", "1", "*")), "--account"),
    "trust in every namespace by IRSA": (lambda: trust(provider="https://oidc.example/id/X"), "--namespace is missing"),
    "trust in a pattern of namespaces": (lambda: trust(namespace="*", cluster="c"), "--namespace"),
    "ingest of every namespace": (lambda: trust("ingest", cluster="c"), "--namespace is missing"),
    "neither cluster nor provider": (lambda: trust(namespace="a"), "--cluster"),
    "a role without Pods": (lambda: trust("reader", "a", "c"), "--role reader"),
}


@pytest.mark.promise(14)
@pytest.mark.parametrize(("call", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_options_that_would_open_a_role_are_refused(call: Callable[[], None], named: str) -> None:
    """The error names the option."""
    with pytest.raises(CommandError, match=named):
        call()


def test_trust_by_irsa_names_one_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    """Never a pattern of namespaces."""
    trust("replayer", "help", provider="https://oidc.example/id/X")
    (statement,) = json.loads(capsys.readouterr().out)["Statement"]
    assert statement["Principal"] == {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/X"}
    assert statement["Condition"] == {
        "StringEquals": {"oidc.example/id/X:aud": "sts.amazonaws.com"},
        "StringLike": {"oidc.example/id/X:sub": "system:serviceaccount:help:chaski-*.replay"},
    }


def test_trust_by_pod_identity_names_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    """A role whose policy is by tags may serve every namespace of it."""
    trust("worker", cluster="production")
    (statement,) = json.loads(capsys.readouterr().out)["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "111122223333", "aws:RequestTag/eks-cluster-name": "production"},
        "StringLike": {"aws:RequestTag/kubernetes-service-account": "chaski-*"},
    }
