"""Runs `chaski iam policy` and `chaski iam trust`: checks the options, prints one JSON document. Calls no AWS."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaski_aws.iam.permissions import Role
from chaski_aws.iam.policies import Place, Scope, policy_of, scope_by_names, scope_by_tags, scope_of_installation
from chaski_aws.iam.trust import ACCOUNTS, irsa_trust, pod_identity_trust
from chaski_aws.provision.desired import KEY_ARN
from chaski_cli.output import emit_json
from chaski_cli.provisioning.resolved_files import read_resolved
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.process.command_error import ExitCode, wrong_input

_TENANTS = (Role.worker, Role.replayer)  # the others may serve all namespaces
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 label, as the API server requires
_ACCOUNT = re.compile(r"\d{12}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_PARTITION = re.compile(r"aws(-[a-z]+)*")
_TAG_VALUE = re.compile(
    r"[A-Za-z0-9+=._:/@ -]{1,256}"
)  # of a tag, without `*`, `?` and `$`, which a condition would expand
_PROVIDER = re.compile(r"[A-Za-z0-9.-]+(/[A-Za-z0-9._/-]+)?")


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """The flags of `chaski iam policy`, without those of the ARNs."""

    role: str
    namespaces: tuple[str, ...]
    installation: str
    by_tags: bool
    resolved: tuple[Path, ...]
    kms_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustOptions:
    """The flags of `chaski iam trust`."""

    role: str
    namespace: str
    cluster: str
    oidc_provider: str
    account: str
    partition: str


def run_policy(options: PolicyOptions, partition: str, account: str, region: str) -> ExitCode:
    """Prints the policy. Raises CommandError for an option that is missing or invalid."""
    _check("--partition", partition, _PARTITION, "aws, aws-cn or aws-us-gov")
    if account != "*":
        _check("--account", account, _ACCOUNT, "12 digits")
    if region != "*":
        _check("--region", region, _REGION, "a region such as eu-west-1")
    for namespace in options.namespaces:
        _check("--namespace", namespace, _NAMESPACE, "the name of one namespace; patterns are not allowed")
    for key in options.kms_keys:
        _check("--kms-key", key, KEY_ARN, "the ARN of a KMS key, not of an alias")
    place = Place(partition, account, region)
    emit_json(policy_of(Role(options.role), _scope(options), place, options.kms_keys), indented=True)
    return ExitCode.OK


def _scope(options: PolicyOptions) -> Scope:
    if not options.installation:
        raise wrong_input(
            "--installation is missing: names and tags of queues and tables contain it",
            "give --owner of chaski provision, or installation of the chart; by default it is the UID of kube-system: "
            "kubectl get namespace kube-system -o jsonpath={.metadata.uid}",
        )
    _check("--installation", options.installation, _TAG_VALUE, "the value of an AWS tag")
    if options.by_tags:
        if options.namespaces or options.resolved or Role(options.role) not in _TENANTS:
            raise wrong_input(
                "--by tags is for workers and replays, and takes neither --namespace nor --resolved: the session "
                "tags of Pod Identity name the namespace of each Pod"
            )
        return scope_by_tags(options.installation)
    if options.namespaces:
        return scope_by_names(options.installation, options.namespaces, [*_resolved(options.resolved)])
    if Role(options.role) in _TENANTS:
        raise wrong_input(
            f"--namespace is missing: the role of a {options.role} is bound to one namespace",
            "name it; or --by tags, for EKS Pod Identity",
        )
    return scope_of_installation(options.installation)


def _resolved(files: tuple[Path, ...]) -> Iterator[ResolvedRoute]:
    for file in files:
        routes = read_resolved(file)
        if not routes:
            raise wrong_input(
                f"--resolved {file}: has no resolved route", "name the file or the folder that chaski provision wrote"
            )
        yield from routes.values()


def run_trust(options: TrustOptions) -> ExitCode:
    """Prints the trust policy. Raises CommandError for an option that is missing or invalid."""
    role = Role(options.role)
    if role not in ACCOUNTS:
        raise wrong_input(f"--role {role.value}: no ServiceAccount of Chaski has this role")
    _check("--partition", options.partition, _PARTITION, "aws, aws-cn or aws-us-gov")
    _check("--account", options.account, _ACCOUNT, "12 digits")
    if options.namespace:
        _check("--namespace", options.namespace, _NAMESPACE, "the name of one namespace; patterns are not allowed")
    if bool(options.cluster) == bool(options.oidc_provider):
        raise wrong_input("give either --cluster, for Pod Identity, or --oidc-provider, for IRSA")
    if options.cluster:
        _check(
            "--cluster", options.cluster, re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"), "the name of an EKS cluster"
        )
        if not options.namespace and role not in _TENANTS:
            raise wrong_input("--namespace is missing: the one that the chart is installed in")
        emit_json(pod_identity_trust(role, options.account, options.cluster, options.namespace or None), indented=True)
        return ExitCode.OK
    if not options.namespace:
        raise wrong_input(
            "--namespace is missing: with IRSA each namespace needs a role of its own, since every user with a namespace "
            "can create ServiceAccounts that a pattern of namespaces matches"
        )
    provider = options.oidc_provider.removeprefix("https://")
    _check("--oidc-provider", provider, _PROVIDER, "the URL of an OIDC provider")
    emit_json(irsa_trust(role, options.account, provider, options.namespace, options.partition), indented=True)
    return ExitCode.OK


def _check(option: str, value: str, pattern: re.Pattern[str], expected: str) -> None:
    if not pattern.fullmatch(value):
        raise wrong_input(f'{option}: expected {expected}, got "{value}"')
