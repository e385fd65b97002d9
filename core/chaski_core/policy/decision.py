"""Whether a route complies with policies. Pure.

Several policies may select a namespace; a route must comply with each of them. So a further policy can only restrict more,
whatever its name and whenever it was made.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from chaski_core.message.subject import matches_any
from chaski_core.policy.model import Policy, Violation
from chaski_core.route.model import OAuth2, Route, rule_host

_BUILT_IN = "BuiltIn"
_MAX_LISTED = 5  # entries of a policy in a message
#: Fields of a route that name a Secret end with this, wherever they are.
_SECRET_FIELD = "secretname"  # noqa: S105 - the name of a field

Check = Callable[[Route, Policy], Iterator[tuple[str, str]]]


def selecting(policies: Iterable[Policy], labels: Mapping[str, str]) -> list[Policy]:
    """The policies that select a namespace with these labels, by name."""
    return sorted((each for each in policies if each.selector.matches(labels)), key=lambda policy: policy.name)


def violations(route: Route, policies: Iterable[Policy]) -> list[Violation]:
    """Every field with which a route does not comply with these policies; empty if it complies with all.

    Args:
        route: valid, with its defaults.
        policies: those that select its namespace.
    """
    return [
        Violation(policy.name, field, message)
        for policy in policies
        for check in _CHECKS
        for field, message in check(route, policy)
    ]


# ---- what a route names


def _hosts(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.hosts is None:
        return
    for field, url, _ in _called(route):
        host = rule_host(url)
        if not any(_covers(entry.lower(), host) for entry in policy.hosts):
            yield field, f'the host "{host}" is not allowed; {_allowed(policy.hosts)}'


def _called(route: Route) -> Iterator[tuple[str, str, Sequence[str]]]:
    """What workers may call: the field with its URL, the URL, and the private ranges that it may be in."""
    for index, rule in enumerate(route.allow):
        field = f"spec.targets.allow[{index}]"
        yield f"{field}.url", rule.url, rule.cidrs
        if isinstance(rule.auth, OAuth2):
            yield f"{field}.auth.oauth2.tokenURL", rule.auth.token_url, rule.auth.cidrs


def _covers(entry: str, host: str) -> bool:
    """Whether a policy's host covers that of a rule; both in lower case."""
    if not entry.startswith("*."):
        return _address_or_name(entry) == host
    return host == entry or host.endswith(entry[1:])


def _address_or_name(entry: str) -> str:
    if not entry.startswith("["):
        return entry
    try:
        return str(ipaddress.IPv6Address(entry[1:-1]))
    except ValueError:
        return entry  # covers no rule


def _cidrs(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.cidrs is None:
        return
    allowed = [ipaddress.ip_network(each) for each in policy.cidrs]
    for field, _, cidrs in _called(route):
        for number, cidr in enumerate(cidrs):
            network = ipaddress.ip_network(cidr)
            if not any(_contains(each, network) for each in allowed):
                message = f"{cidr} is not in an allowed range; {_allowed(policy.cidrs)}"
                yield f"{field.rpartition('.')[0]}.cidrs[{number}]", message


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _contains(outer: _Network, inner: _Network) -> bool:
    if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, ipaddress.IPv6Network) and isinstance(inner, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _secrets(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.secret_names is None:
        return
    for field, name in secret_fields(route.document["spec"], "spec"):
        if not matches_any(policy.secret_names, name):
            yield field, f'the Secret "{name}" is not allowed; {_allowed(policy.secret_names)}'


def secret_fields(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The fields at and below a path that name a Secret, each with the name."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, str) and key.lower().endswith(_SECRET_FIELD):
                yield f"{path}.{key}", each
            yield from secret_fields(each, f"{path}.{key}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from secret_fields(each, f"{path}[{index}]")


ACCOUNT_FIELD = "spec.workers.serviceAccountName"


def _service_account(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    name = (route.document["spec"].get("workers") or {}).get("serviceAccountName")
    if policy.service_account_names is None or name is None:
        return
    if not matches_any(policy.service_account_names, name):
        message = f'the ServiceAccount "{name}" is not allowed; {_allowed(policy.service_account_names)}'
        yield ACCOUNT_FIELD, message


# ---- how much it declares


def _partitions(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    total = sum(queue.partitions for queue in route.queues)
    if policy.max_partitions is not None and total > policy.max_partitions:
        yield "spec.queues", f"{total} partitions are more than {policy.max_partitions}"


def _replicas(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.max_replicas is None:
        return
    autoscaling = route.document["spec"]["autoscaling"]
    if autoscaling["mode"] != _BUILT_IN:
        message = f"{autoscaling['mode']} does not keep the maximum of {policy.max_replicas} Pods; use {_BUILT_IN}"
        yield "spec.autoscaling.mode", message
    if autoscaling["maxReplicas"] > policy.max_replicas:
        message = f"{autoscaling['maxReplicas']} Pods are more than {policy.max_replicas}"
        yield "spec.autoscaling.maxReplicas", message


def _rates(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    limit = policy.max_rate_per_second
    if limit is None:
        return
    for index, producer in enumerate(route.producers):
        rate, field = producer.rate_per_second, f"spec.producers[{index}].ratePerSecond"
        if rate is None:
            yield field, f"is missing; at most {limit} are allowed"
        elif rate > limit:
            yield field, f"{rate} is more than {limit}"


def _producers(route: Route, policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.producers_required and not route.producers:
        yield "spec.producers", "is missing or empty; list the producers that may send"


_CHECKS: Sequence[Check] = (
    *(_hosts, _cidrs, _secrets, _service_account),
    *(_partitions, _replicas, _rates, _producers),
)


def _allowed(entries: Sequence[str]) -> str:
    if not entries:
        return "none is allowed"
    rest = len(entries) - _MAX_LISTED
    return "allowed: " + ", ".join(entries[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
