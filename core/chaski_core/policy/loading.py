"""Policies from documents, checked by the schema and the rules of `crds/chaskipolicies.yaml`; nothing is repeated here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.policy.model import NAME_LABEL, Expression, Operator, Policy, Selector
from chaski_core.route.validation.crd import GROUP_VERSION, POLICIES, with_defaults
from chaski_core.route.validation.documents import document_errors
from chaski_core.route.yaml_documents import numbered, read_documents

KIND = "ChaskiPolicy"
_NAMESPACE = ("v1", "Namespace")


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The policies of a text, and the labels of the namespaces that it declares beside them."""

    policies: tuple[Policy, ...]
    namespaces: Mapping[str, Mapping[str, str]]  # labels by name


def load_policies(text: str) -> PolicyFile:
    """The ChaskiPolicies and the Namespaces of a YAML text.

    Raises:
        InvalidRouteError: with every error of every document; with several documents each error names its own.
    """
    documents = read_documents(text)
    policies, namespaces = [], {}
    errors: list[FieldError] = []
    for number, document in enumerate(documents, 1):
        if (document.get("apiVersion"), document.get("kind")) == _NAMESPACE:
            metadata = document.get("metadata") or {}
            namespaces[str(metadata.get("name"))] = labels_of(metadata)
            continue
        try:
            policies.append(load_policy(document))
        except InvalidRouteError as error:
            errors += error.errors if len(documents) == 1 else numbered(error.errors, number)
    if not policies and not errors:
        errors.append(FieldError("", f"has no {KIND}"))
    if errors:
        raise InvalidRouteError(errors)
    return PolicyFile(tuple(policies), namespaces)


def labels_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a namespace by its metadata, also the one with its name, which the API server adds."""
    return {**(metadata.get("labels") or {}), NAME_LABEL: str(metadata.get("name"))}


def load_policy(document: Mapping[str, Any]) -> Policy:
    """The policy that a document declares.

    Raises:
        InvalidRouteError: with all errors.
    """
    if (document.get("apiVersion"), document.get("kind")) != (GROUP_VERSION, KIND):
        raise InvalidRouteError([FieldError("kind", f"must be {KIND} of {GROUP_VERSION}, or a Namespace")])
    full = with_defaults(document, POLICIES)
    errors = document_errors(full, plural=POLICIES)
    if errors:
        raise InvalidRouteError(errors)
    spec = full["spec"]
    allow, limits = spec["allow"], spec["limits"]
    return Policy(
        name=full["metadata"]["name"],
        selector=_selector(spec["namespaceSelector"]),
        hosts=_optional(allow.get("hosts")),
        cidrs=_optional(allow.get("cidrs")),
        secret_names=_optional(allow.get("secretNames")),
        service_account_names=_optional(allow.get("serviceAccountNames")),
        max_partitions=limits.get("partitions"),
        max_replicas=limits.get("replicas"),
        max_rate_per_second=limits.get("ratePerSecond"),
        producers_required=spec["producersRequired"],
    )


def _selector(raw: Mapping[str, Any]) -> Selector:
    return Selector(
        tuple(sorted((raw.get("matchLabels") or {}).items())),
        tuple(
            Expression(each["key"], Operator(each["operator"]), tuple(each.get("values", ())))
            for each in raw.get("matchExpressions") or ()
        ),
    )


def _optional(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
