"""Routes from the text of a route file."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chaski_core.errors import InvalidRouteError
from chaski_core.retry.breaker import BreakerRule, FailureShare
from chaski_core.retry.policy import Ladder
from chaski_core.route.loading import load_route, load_routes
from chaski_core.route.model import (
    AllowRule,
    Auth,
    AwsSigV4,
    ClientAuthentication,
    Delivery,
    HeaderSecret,
    OAuth2,
    Ordering,
    Producer,
    QueueSpec,
    ServiceAccountToken,
    Signing,
    SigningScheme,
    SubjectGroup,
    Suspend,
)
from contract.crd.making import base, changed

_FOLDER = Path(__file__).parents[4] / "examples"
_EXAMPLES = sorted(set(_FOLDER.glob("*.yaml")) - {_FOLDER / "replay.yaml"})  # the routes


@pytest.mark.parametrize("path", _EXAMPLES, ids=[path.stem for path in _EXAMPLES])
def test_every_example_loads(path: Path) -> None:
    """Users copy them."""
    routes = load_routes(path.read_text(encoding="utf-8"))
    assert [route.document["kind"] for route in routes] == ["ChaskiRoute"] * len(routes)


def test_a_full_route_becomes_values() -> None:
    """Every field of the design's own example arrives in the model."""
    text = next(path for path in _EXAMPLES if path.stem == "conversations").read_text(encoding="utf-8")
    (route,) = load_routes(text)
    assert route.key == "helpdesk/conversations"
    assert route.ordering is Ordering.RELAXED
    assert route.queues == (QueueSpec("assignments", 1, ("pc_assignments_*",)), QueueSpec("messages", 4))
    assert route.allow[1] == AllowRule("internal", "http://inbox.helpdesk.svc.cluster.local:8080/", ("10.0.0.0/8",))
    assert route.delivery == Delivery(30, 64)
    assert route.retry.ladder_for("404") == Ladder("404", 1, ("slow",))
    assert route.retention_days == 30
    assert route.producers == (Producer("helpdesk", "channels"),)
    assert route.subject_group == SubjectGroup(r"^pc_[a-z]+_(\d+)", 200)
    assert route.suspend == Suspend()


def test_a_breaker_of_a_rule_takes_the_place_of_that_of_the_route() -> None:
    """As a whole, with the defaults; `enabled: false` switches it off for the rule. Without any there is none."""
    document = changed(
        {
            "spec.delivery": {"breaker": {"consecutiveFailures": 3, "failureShare": {"percent": 40}}},
            "spec.targets.allow": [
                {"name": "usual", "url": "https://a.example/"},
                {"name": "own", "url": "https://b.example/", "breaker": {"maxHoldSeconds": 60, "maxProbeSeconds": 30}},
                {"name": "off", "url": "https://c.example/", "breaker": {"enabled": False}},
            ],
        }
    )
    assert load_route(document).breakers == {
        "usual": BreakerRule(3, FailureShare(40, 60, 20)),
        "own": BreakerRule(max_hold_seconds=60, max_probe_seconds=30),
    }
    assert load_route(base()).breakers == {}


def test_a_route_without_a_namespace_is_in_default() -> None:
    """As with kubectl; its document has the namespace too."""
    document = base()
    del document["metadata"]["namespace"]
    route = load_route(document)
    assert route.key == "default/conversations"
    assert route.document["metadata"]["namespace"] == "default"
    assert "namespace" not in document["metadata"]


def test_a_producer_has_the_patterns_of_its_subjects() -> None:
    """In the order in which they are declared; without the field every subject is its own."""
    entry = {"namespace": "helpdesk", "serviceAccount": "channels"}
    route = load_route(changed({"spec.producers": [{**entry, "subjects": ["b_*", "a"]}, entry]}))
    assert [each.subjects for each in route.producers] == [("b_*", "a"), ()]


def test_nulls_in_metadata_are_absent_fields() -> None:
    """Generators write them (`creationTimestamp: null`); a label without a value is empty text, as in Go's decoder."""
    text = """
apiVersion: chaski.dev/v1alpha1
kind: ChaskiRoute
metadata: {name: r, namespace: null, creationTimestamp: null, annotations: , labels: {team: }}
spec: {queues: [{name: m}], targets: {allow: [{name: t, url: "https://api.example/"}]}}
"""
    (route,) = load_routes(text)
    assert route.key == "default/r"
    assert route.document["metadata"] == {"name": "r", "namespace": "default", "labels": {"team": ""}}


def test_faults_of_several_documents_name_their_document() -> None:
    """Every document is validated, and a route that is declared twice is a fault."""
    bad = changed({"spec.ordering": "x", "spec.queues.0.partitions": 0})
    with pytest.raises(InvalidRouteError) as refused:
        load_routes(yaml.safe_dump_all([base(), bad, {"kind": "Secret", "apiVersion": "v1"}, base()]))
    assert [fault.field for fault in refused.value.errors] == [
        "document 2: spec.ordering",
        "document 2: spec.queues[0].partitions",
        "document 3: apiVersion",
        "document 3: kind",
        "document 4: metadata.name",
    ]


def test_a_text_without_a_route_is_refused() -> None:
    """An empty file is a mistake, not a set of no routes."""
    with pytest.raises(InvalidRouteError, match="has no ChaskiRoute"):
        load_routes("# nothing\n")


def test_using_a_route_does_not_load_the_validators() -> None:
    """A process that only uses routes does not import jsonschema, CEL and RE2."""
    program = (
        "import sys, chaski_core.route.model, chaski_core.route.resolved, chaski_core.ports\n"
        "print(sorted({'jsonschema', 'cel', 're2', 'yaml'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("raw", "auth"),
    [
        (
            {"headers": [{"name": "A", "secretName": "s", "key": "k"}, {"name": "B", "secretName": "t", "key": "l"}]},
            (HeaderSecret("A", "s", "k"), HeaderSecret("B", "t", "l")),
        ),
        ({"oauth2": {"tokenURL": "https://i.example/t", "secretName": "s"}}, OAuth2("https://i.example/t", "s")),
        (
            {
                "oauth2": {
                    "tokenURL": "http://i.example/t",
                    "secretName": "s",
                    "scopes": ["a", "b"],
                    "audience": "c",
                    "clientAuthentication": "Post",
                    "cidrs": ["10.0.0.0/8"],
                }
            },
            OAuth2("http://i.example/t", "s", ("a", "b"), "c", ClientAuthentication.POST, ("10.0.0.0/8",)),
        ),
        ({"serviceAccountToken": {"audience": "a"}}, ServiceAccountToken("a", 3600)),
        ({"serviceAccountToken": {"audience": "a", "expirationSeconds": 600}}, ServiceAccountToken("a", 600)),
        ({"awsSigV4": {"service": "lambda", "region": "eu-west-1"}}, AwsSigV4("lambda", "eu-west-1")),
    ],
)
def test_the_credentials_of_a_rule_become_values(raw: dict[str, object], auth: Auth) -> None:
    """Of the kind that is given, with its defaults."""
    rule = {"name": "a", "url": "https://a.example/", "auth": raw}
    assert load_route(changed({"spec.targets.allow.0": rule})).allow[0].auth == auth


def test_a_rule_has_its_own_signing_or_the_routes() -> None:
    """The scheme is HMAC unless another one is given."""
    rules = [
        {"name": "a", "url": "https://a.example/", "signing": {"secretName": "own", "scheme": "v1a"}},
        {"name": "b", "url": "https://b.example/"},
    ]
    route = load_route(changed({"spec.targets.allow": rules, "spec.signing": {"secretName": "keys"}}))
    own, shared = Signing("own", SigningScheme.V1A), Signing("keys", SigningScheme.V1)
    assert [route.signing_of(rule) for rule in route.allow] == [own, shared]
