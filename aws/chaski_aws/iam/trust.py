"""Trust policies: which ServiceAccounts may take a role. Pure. Always one namespace, never a pattern of namespaces."""

from typing import Any

from chaski_aws.iam.permissions import Role

#: ServiceAccounts, as a pattern: those that the operator creates for routes, and those of the chart.
ACCOUNTS = {
    Role.worker: "chaski-*",
    Role.replayer: "chaski-*.replay",
    Role.ingest: "chaski-ingest",
    Role.console: "chaski-console",
    Role.operator: "chaski-operator",
}


def pod_identity_trust(role: Role, account: str, cluster: str, namespace: str | None) -> dict[str, Any]:
    """Trust in EKS Pod Identity (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html).

    Args:
        role: of the ServiceAccounts.
        account: the AWS account.
        cluster: name of the EKS cluster.
        namespace: of the ServiceAccounts; None: any, for a role whose policy binds each Pod to its own namespace by tags.
    """
    equal = {"aws:SourceAccount": account, "aws:RequestTag/eks-cluster-name": cluster}
    if namespace is not None:
        equal["aws:RequestTag/kubernetes-namespace"] = namespace
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": equal,
            "StringLike": {"aws:RequestTag/kubernetes-service-account": ACCOUNTS[role]},
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def irsa_trust(role: Role, account: str, provider: str, namespace: str, partition: str = "aws") -> dict[str, Any]:
    """Trust in ServiceAccounts of one namespace by the cluster's OIDC provider (IRSA).

    https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html

    Args:
        role: of the ServiceAccounts.
        account: the AWS account of the provider.
        provider: its URL without https://.
        namespace: of the ServiceAccounts.
        partition: aws, aws-cn, aws-us-gov.
    """
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:{partition}:iam::{account}:oidc-provider/{provider}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{provider}:aud": "sts.amazonaws.com"},
            "StringLike": {f"{provider}:sub": f"system:serviceaccount:{namespace}:{ACCOUNTS[role]}"},
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
