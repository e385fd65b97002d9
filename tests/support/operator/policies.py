"""A policy, and thirty routes that do not comply with it, each with the fields that it must name."""

from typing import Any

from support.operator.routes import route

NAME = "teams"
CERTIFICATE = "clientCertSecretName"
_ALLOWED_PRODUCER = {"namespace": "shop", "serviceAccount": "sender", "ratePerSecond": 50}


def policy(name: str = NAME, selector: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A ChaskiPolicy with every restriction; `spec` overrides its parts."""
    whole = {
        "namespaceSelector": {} if selector is None else selector,
        "allow": {
            "hosts": ["t.example", "*.partners.example.com", "10.1.2.3", "[fd00::1]"],
            "cidrs": ["10.1.0.0/16", "fd00::/16"],
            "secretNames": ["chaski-*", "partner.tls"],
            "serviceAccountNames": ["deliverer"],
        },
        "limits": {"partitions": 4, "replicas": 5, "ratePerSecond": 100},
        "producersRequired": True,
    }
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiPolicy",
        "metadata": {"name": name},
        "spec": whole | spec,
    }


def _oauth2_of_rule(**more: Any) -> dict[str, Any]:
    oauth2 = {"tokenURL": "https://t.example/token", "secretName": "chaski-client", "cidrs": ["10.1.9.0/24"]}
    return {"auth": {"oauth2": oauth2 | more}}


def complying(namespace: str, name: str = "good", **spec: Any) -> dict[str, Any]:
    """A route that uses every part of what the policy allows; `spec` overrides its parts."""
    allow = [
        {"name": "exact", "url": "https://T.example/hooks/", CERTIFICATE: "partner.tls", **_oauth2_of_rule()},
        {"name": "suffix", "url": "https://*.eu.partners.example.com/"},
        {"name": "name", "url": "https://a.partners.example.com:8443/", "cidrs": ["10.1.7.0/24", "fd00:1::/32"]},
        {"name": "whole", "url": "https://*.partners.example.com/"},
        {"name": "v4", "url": "http://10.1.2.3/", "cidrs": ["10.1.2.3/32"]},
        {"name": "v6", "url": "http://[fd00:0::1]:8080/", "cidrs": ["fd00::1/128"]},
    ]
    whole = {
        "queues": [{"name": "messages", "partitions": 3}, {"name": "vip", "subjects": ["vip*"]}],
        "targets": {"allow": allow},
        "producers": [_ALLOWED_PRODUCER],
        "signing": {"secretName": "chaski-signing"},
        "workers": {"serviceAccountName": "deliverer"},
        "autoscaling": {"maxReplicas": 5},
    }
    return route(namespace, name, **whole | spec)


def _hosts(*urls: str, **more: Any) -> dict[str, Any]:
    rules = [{"name": f"r{number}", "url": url, **more} for number, url in enumerate(urls)]
    return {"targets": {"allow": rules}}


def _oauth2(**more: Any) -> dict[str, Any]:
    return _hosts("https://t.example/", **_oauth2_of_rule(**more))


_HOST = "spec.targets.allow[0].url"
_CIDR = "spec.targets.allow[0].cidrs[0]"

#: Changes of a complying route, and the fields that the verdict must name.
DENIED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "host": (_hosts("https://evil.example/"), [_HOST]),
    "second-host": (_hosts("https://t.example/", "https://evil.example/"), ["spec.targets.allow[1].url"]),
    "two-hosts": (_hosts("https://a.example/", "https://b.example/"), [_HOST, "spec.targets.allow[1].url"]),
    "below-exact": (_hosts("https://a.t.example/"), [_HOST]),
    "prefix-of-name": (_hosts("https://evil-t.example/"), [_HOST]),
    "name-as-suffix": (_hosts("https://t.example.evil.com/"), [_HOST]),
    "suffix-itself": (_hosts("https://partners.example.com/"), [_HOST]),
    "glued-to-suffix": (_hosts("https://evilpartners.example.com/"), [_HOST]),
    "wider-suffix": (_hosts("https://*.example.com/"), [_HOST]),
    "suffix-of-exact": (_hosts("https://*.t.example/"), [_HOST]),
    "other-port-other-host": (_hosts("https://evil.example:443/t.example"), [_HOST]),
    "address": (_hosts("http://10.1.2.4/"), [_HOST]),
    "v6-address": (_hosts("http://[fd00::2]:80/"), [_HOST]),
    "mapped-address": (_hosts("http://[::ffff:10.1.2.3]:80/"), [_HOST]),
    "cidr": (_hosts("https://t.example/", cidrs=["10.2.0.0/16"]), [_CIDR]),
    "wider-cidr": (_hosts("https://t.example/", cidrs=["10.0.0.0/8"]), [_CIDR]),
    "every-address": (_hosts("https://t.example/", cidrs=["0.0.0.0/0"]), [_CIDR]),
    "v6-cidr": (_hosts("https://t.example/", cidrs=["fd01::/16"]), [_CIDR]),
    "second-cidr": (
        _hosts("https://t.example/", cidrs=["10.1.0.0/16", "192.168.0.0/16"]),
        ["spec.targets.allow[0].cidrs[1]"],
    ),
    "client-secret": (
        _hosts("https://t.example/", **{CERTIFICATE: "database"}),
        [f"spec.targets.allow[0].{CERTIFICATE}"],
    ),
    "signing-secret": ({"signing": {"secretName": "database"}}, ["spec.signing.secretName"]),
    "secret-with-the-pattern-inside": ({"signing": {"secretName": "my-chaski-x"}}, ["spec.signing.secretName"]),
    "rule-signing-secret": (
        _hosts("https://t.example/", signing={"secretName": "database"}),
        ["spec.targets.allow[0].signing.secretName"],
    ),
    "header-secret": (
        _hosts("https://t.example/", auth={"headers": [{"name": "X-Key", "secretName": "database", "key": "k"}]}),
        ["spec.targets.allow[0].auth.headers[0].secretName"],
    ),
    "token-secret": (_oauth2(secretName="database"), ["spec.targets.allow[0].auth.oauth2.secretName"]),
    "token-host": (_oauth2(tokenURL="https://evil.example/"), ["spec.targets.allow[0].auth.oauth2.tokenURL"]),
    "token-cidr": (_oauth2(cidrs=["10.2.0.0/16"]), ["spec.targets.allow[0].auth.oauth2.cidrs[0]"]),
    "account": ({"workers": {"serviceAccountName": "default"}}, ["spec.workers.serviceAccountName"]),
    "partitions": ({"queues": [{"name": "messages", "partitions": 5}]}, ["spec.queues"]),
    "partitions-together": (
        {"queues": [{"name": "messages", "partitions": 3}, {"name": "b", "subjects": ["b*"], "partitions": 2}]},
        ["spec.queues"],
    ),
    "replicas": ({"autoscaling": {"maxReplicas": 6}}, ["spec.autoscaling.maxReplicas"]),
    "mode": ({"autoscaling": {"mode": "External", "maxReplicas": 5}}, ["spec.autoscaling.mode"]),
    "default-replicas": ({"autoscaling": {}}, ["spec.autoscaling.maxReplicas"]),
    "rate": (
        {"producers": [_ALLOWED_PRODUCER, _ALLOWED_PRODUCER | {"ratePerSecond": 101}]},
        ["spec.producers[1].ratePerSecond"],
    ),
    "no-rate": (
        {"producers": [{"apiKeySha256": ["0" * 64]}]},
        ["spec.producers[0].ratePerSecond"],
    ),
    "no-producers": ({"producers": []}, ["spec.producers"]),
    "everything": (
        _hosts("https://evil.example/", cidrs=["0.0.0.0/0"]) | {"producers": [], "signing": {"secretName": "x"}},
        [_HOST, _CIDR, "spec.signing.secretName", "spec.producers"],
    ),
}
