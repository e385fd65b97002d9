"""The parts of a Pod's spec that workers and replays have in common: users, DNS, the way to AWS. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from chaski_core.route.model import Route
from chaski_operator.manifests.kinds import CONFIG_MAP, Object, new_object
from chaski_operator.manifests.names import CA_HASH, ca_bundle_name
from chaski_operator.settings import PodSettings

RESTRICTED_CONTAINER: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""The `securityContext` of a container, as the restricted Pod security standard requires."""

_PLACEMENT = ("priorityClassName", "nodeSelector", "tolerations", "affinity")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY")
_CA_KEY = "ca.crt"
_CA_FOLDER = "/etc/chaski/aws-ca"
_CA_VARIABLE = "AWS_CA_BUNDLE"


def pod_values(spec: Mapping[str, Any], defaults: Mapping[str, Any]) -> Object:
    """The `spec.workers` that a route's Pods get: a field of the route replaces the default, labels and annotations one by one.

    Args:
        spec: of the ChaskiRoute.
        defaults: `PodTemplate.defaults`.
    """
    given = spec.get("workers") or {}
    merged = {name: {**defaults.get(name, {}), **given.get(name, {})} for name in ("labels", "annotations")}
    return {**defaults, **given, **merged}


def placement(values: Mapping[str, Any]) -> Object:
    """The part of a Pod's spec that decides which node runs it, from `pod_values`."""
    return {name: values[name] for name in _PLACEMENT if values.get(name)}


def pod_security(settings: PodSettings) -> Object:
    """The `securityContext` of a Pod, as the restricted Pod security standard requires.

    Without user and groups the cluster chooses them: OpenShift's restricted-v2 admits only those of the namespace's range
    (https://docs.redhat.com/en/documentation/openshift_container_platform/4.18/html/authentication_and_authorization/managing-pod-security-policies).
    """
    ids = {"runAsUser": settings.run_as_user, "runAsGroup": settings.run_as_group, "fsGroup": settings.fs_group}
    given = {name: number for name, number in ids.items() if number is not None}
    return {"runAsNonRoot": True, **given, "seccompProfile": {"type": "RuntimeDefault"}}


def dns_config(settings: PodSettings) -> Object:
    """`dnsConfig`: names with as many dots are looked up as they are, before the search domains of the cluster.

    With the kubelet's default of 5, `stripe.com` is looked up as `stripe.com.<namespace>.svc.cluster.local` first, which
    a user who may create Services in the namespace can answer (https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/).
    """
    return {"options": [{"name": "ndots", "value": str(settings.ndots)}]}


def environment(variables: Mapping[str, str], settings: PodSettings, *fixed: Object) -> list[Object]:
    """The `env` of a container that gets these values as they are, sorted. No name occurs twice, which Helm and server-side apply refuse.

    Args:
        variables: by name.
        settings: with a CA bundle, `AWS_CA_BUNDLE` names its file, unless `variables` does.
        fixed: entries that no variable replaces.
    """
    names = {each["name"] for each in fixed}
    found = ({_CA_VARIABLE: f"{_CA_FOLDER}/{_CA_KEY}"} if settings.aws_ca_bundle else {}) | dict(variables)
    given = ({"name": name, "value": literal(value)} for name, value in sorted(found.items()) if name not in names)
    return [*given, *fixed]


def literal(text: str) -> str:
    """An argument or a value of `env` that a container gets as `text`.

    The kubelet replaces `$(NAME)` by the variable of that name, and `$$` by `$`: k8s.io/kubernetes,
    third_party/forked/golang/expansion.
    """
    return text.replace("$", "$$")


def aws_ports(variables: Mapping[str, str]) -> set[int]:
    """Ports of the endpoints and proxies that variables name, which may differ from those of the web."""
    values = (
        value for name, value in variables.items() if name.startswith("AWS_ENDPOINT_URL") or name.upper() in _PROXIES
    )
    return {port for value in values if (port := _port(value)) is not None}


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def ca_volumes(route: str, settings: PodSettings) -> list[Object]:
    """The volume of the CA bundle; none without one."""
    return [{"name": "aws-ca", "configMap": {"name": ca_bundle_name(route)}}] if settings.aws_ca_bundle else []


def ca_mounts(settings: PodSettings) -> list[Object]:
    """Where a container finds that volume."""
    return [{"name": "aws-ca", "mountPath": _CA_FOLDER, "readOnly": True}] if settings.aws_ca_bundle else []


def ca_annotations(settings: PodSettings) -> dict[str, str]:
    """Annotations of a Pod: processes read the bundle once, so a changed one must roll them."""
    if settings.aws_ca_bundle is None:
        return {}
    return {CA_HASH: hashlib.sha256(settings.aws_ca_bundle.encode()).hexdigest()[:16]}


def ca_config_maps(route: Route, settings: PodSettings) -> list[Object]:
    """The ConfigMap of the bundle; apart from the resolved route, since both can be long."""
    if settings.aws_ca_bundle is None:
        return []
    return [new_object(CONFIG_MAP, ca_bundle_name(route.name), route, {"data": {_CA_KEY: settings.aws_ca_bundle}})]
