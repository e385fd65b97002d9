"""ChaskiRoutes that must be taken and that must be refused, for everything that judges them.

`chaski validate`, Kubernetes' validation code and a real API server all run this table.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = object()  # in a change: take the field away


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document and what must be said against it.

    `faults`: what `chaski validate` says, as path -> message. Faults of a rule have the very text that the API server
    uses for the first of them, at the same path or a parent of it; for faults of the schema ("..." at the end of the
    message) the API server names the same path in words of its own.
    """

    name: str
    document: Mapping[str, Any]
    faults: tuple[tuple[str, str], ...] = ()
    old: Mapping[str, Any] | None = None  # what the document replaces

    @property
    def of_the_schema(self) -> bool:
        """Whether the schema refuses it; else a rule does."""
        return any(message.endswith("...") for _, message in self.faults)


def base() -> dict[str, Any]:
    """The smallest route."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "conversations", "namespace": "helpdesk"},
        "spec": {
            "queues": [{"name": "messages"}],
            "targets": {"allow": [{"name": "helpdesk", "url": "https://api.helpdesk.example/hooks/"}]},
        },
    }


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest route with values put at dotted paths, such as `spec.queues.0.partitions`."""
    document = base()
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = document
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if value is ABSENT:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = copy.deepcopy(value)
        else:
            place[last] = copy.deepcopy(value)
    return document


def _refused(name: str, changes: Mapping[str, Any], *faults: tuple[str, str]) -> Manifest:
    """The smallest route with changes that must be refused."""
    return Manifest(name, changed(changes), faults)


def _url(name: str, url: str, *messages: str) -> Manifest:
    """A target's URL that must be refused."""
    where = "spec.targets.allow[0].url"
    return _refused(name, {"spec.targets.allow.0.url": url}, *((where, message) for message in messages))


_HOST = (
    '"{}" must have as host a name, an address, or *.suffix with a suffix of at least two labels, such as *.example.com'
)
_PORT = '"{}" must have a port from 1 to 65535, or none'
_RUNGS = [
    {"name": "fast", "delaySeconds": 5},
    {"name": "medium", "delaySeconds": 60},
    {"name": "slow", "delaySeconds": 900},
]


def _retry(rungs: list[dict[str, Any]], *ladders: dict[str, Any]) -> dict[str, Any]:
    """The change that gives a route these rungs and ladders."""
    return {"spec.retry": {"rungs": rungs, "ladders": list(ladders)}}


def _ladder(error_class: str, *rungs: str, **more: Any) -> dict[str, Any]:
    """One ladder."""
    return {"class": error_class, "rungs": list(rungs), **more}


VALID: tuple[Manifest, ...] = tuple(
    Manifest(name, changed(changes))
    for name, changes in (
        ("the smallest route", {}),
        (
            "Strict with long delays",
            {"spec.ordering": "Strict", **_retry([{"name": "late", "delaySeconds": 39600}], _ladder("any", "late"))},
        ),
        ("no retries at all", {"spec.retry": {"rungs": [], "ladders": []}}),
        (
            "a ladder for every kind of class",
            _retry(
                _RUNGS,
                _ladder("404", "slow"),
                _ladder("4xx", "fast"),
                _ladder("3xx", "fast"),
                _ladder("refused", "slow"),
                _ladder("tls", "slow"),
                _ladder("any", "fast"),
            ),
        ),
        ("a ladder at its limit", _retry(_RUNGS, _ladder("5xx", "fast", "slow", retriesPerRung=50))),
        (
            "rungs with equal delays",
            _retry([{"name": "a", "delaySeconds": 5}, {"name": "b", "delaySeconds": 5}], _ladder("any", "a", "b")),
        ),
        (
            "two queues",
            {
                "spec.queues": [
                    {"name": "assignments", "subjects": ["pc_assignments_*", "x"]},
                    {"name": "messages", "partitions": 64},
                ]
            },
        ),
        ("a suffix host with a port", {"spec.targets.allow.0.url": "https://*.example.com:8443"}),
        ("an IPv4 target", {"spec.targets.allow.0.url": "http://127.0.0.1:9000/"}),
        ("an IPv6 target", {"spec.targets.allow.0.url": "http://[::1]:9000/a%20b/"}),
        ("a name without dots", {"spec.targets.allow.0.url": "http://localhost/a.b/..c"}),
        ("private ranges", {"spec.targets.allow.0.cidrs": ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]}),
        (
            "producers",
            {
                "spec.producers": [
                    {"namespace": "helpdesk", "serviceAccount": "channels"},
                    {"apiKeySha256": ["0" * 64, "f" * 64], "ratePerSecond": 5},
                ]
            },
        ),
        (
            "a subject group with a class that holds a parenthesis",
            {"spec.subjectGroup": {"pattern": r"^\(?(?:a|b)[(\]](\d+)"}},
        ),
        (
            "a named subject group",
            {"spec.subjectGroup": {"pattern": "(?i)^(?P<client>[[:alpha:](]+)$", "maxValues": 1}},
        ),
        (
            "workers",
            {
                "spec.workers": {
                    "serviceAccountName": "a",
                    "resources": {"requests": {"cpu": 1, "memory": "256Mi"}},
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [
                        {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
                    ],
                }
            },
        ),
        (
            "nulls where there are defaults",
            {
                "spec.delivery": None,
                "spec.deletionPolicy": None,
                "spec.queues.0.partitions": None,
                "spec.signing": None,
            },
        ),
        (
            "everything else",
            {
                "spec.signing": {"secretName": "keys"},
                "spec.suspend": {"delivery": True},
                "spec.deletionPolicy": "Delete",
                "spec.autoscaling": {"mode": "External", "minReplicas": 2, "maxReplicas": 2},
                "spec.deadLetters": {"retentionDays": 1},
            },
        ),
    )
)

INVALID: tuple[Manifest, ...] = (
    # ---- the schema
    _refused("no spec", {"spec": ABSENT}, ("spec", "is missing...")),
    _refused("no queues", {"spec.queues": ABSENT}, ("spec.queues", "is missing...")),
    _refused("queues null", {"spec.queues": None}, ("spec.queues", "is missing...")),
    _refused("empty queues", {"spec.queues": []}, ("spec.queues", "0 entries are fewer than 1...")),
    _refused("no targets", {"spec.targets": ABSENT}, ("spec.targets", "is missing...")),
    _refused("no allow rule", {"spec.targets.allow": []}, ("spec.targets.allow", "0 entries are fewer than 1...")),
    _refused(
        "too many queues",
        {"spec.queues": [{"name": "z"}, *({"name": f"q{i}", "subjects": [f"{i}*"]} for i in range(8))]},
        ("spec.queues", "9 entries are more than 8..."),
    ),
    _refused(
        "a misspelt field", {"spec.ordring": "Strict"}, ("spec.ordring", "unknown field; did you mean ordering?...")
    ),
    _refused(
        "a misspelt field in a list",
        {"spec.queues.0.partition": 4},
        ("spec.queues[0].partition", "unknown field; did you mean partitions?..."),
    ),
    _refused(
        "an unknown ordering",
        {"spec.ordering": "relaxed"},
        ("spec.ordering", '"relaxed" is not one of Relaxed, Strict...'),
    ),
    _refused("no partition", {"spec.queues.0.partitions": 0}, ("spec.queues[0].partitions", "0 is less than 1...")),
    _refused("65 partitions", {"spec.queues.0.partitions": 65}, ("spec.queues[0].partitions", "65 is more than 64...")),
    _refused(
        "partitions as text",
        {"spec.queues.0.partitions": "4"},
        ("spec.queues[0].partitions", 'must be a whole number, not "4"...'),
    ),
    _refused(
        "half a partition",
        {"spec.queues.0.partitions": 1.5},
        ("spec.queues[0].partitions", "must be a whole number, not 1.5..."),
    ),
    _refused(
        "a queue name in capitals",
        {"spec.queues.0.name": "Messages"},
        ("spec.queues[0].name", '"Messages" does not fit the pattern...'),
    ),
    _refused(
        "a queue name with a line break",
        {"spec.queues.0.name": "messages\n"},
        ("spec.queues[0].name", '"messages\\n" does not fit the pattern...'),
    ),
    _refused(
        "a long queue name",
        {"spec.queues.0.name": "m" * 25},
        ("spec.queues[0].name", f'"{"m" * 25}" is longer than 24 characters...'),
    ),
    _refused(
        "two queues of one name",
        {"spec.queues": [{"name": "a"}, {"name": "a", "subjects": ["x"]}]},
        ("spec.queues[1]", 'name "a" is there already...'),
    ),
    _refused(
        "a pattern twice",
        {"spec.queues": [{"name": "a"}, {"name": "b", "subjects": ["x", "x"]}]},
        ("spec.queues[1].subjects[1]", '"x" is there already...'),
    ),
    _refused(
        "no patterns in the list",
        {"spec.queues": [{"name": "a"}, {"name": "b", "subjects": []}]},
        ("spec.queues[1].subjects", "0 entries are fewer than 1..."),
    ),
    _refused(
        "queues as a mapping", {"spec.queues": {"name": "a"}}, ("spec.queues", 'must be a list, not {"name": "a"}...')
    ),
    _refused("a null queue", {"spec.queues": [None]}, ("spec.queues[0]", "must be a mapping, not null...")),
    _refused(
        "a timeout with a unit",
        {"spec.delivery.timeoutSeconds": "30s"},
        ("spec.delivery.timeoutSeconds", 'must be a whole number, not "30s"...'),
    ),
    _refused(
        "a timeout of 301 s",
        {"spec.delivery.timeoutSeconds": 301},
        ("spec.delivery.timeoutSeconds", "301 is more than 300..."),
    ),
    _refused(
        "a status that is no text",
        _retry(_RUNGS, {"class": 404, "rungs": ["slow"]}),
        ("spec.retry.ladders[0].class", 'must be text, not 404; put it in quotes: "404"...'),
    ),
    _refused(
        "a flag that is text",
        {"spec.suspend.delivery": "true"},
        ("spec.suspend.delivery", 'must be true or false, not "true"...'),
    ),
    _refused("retry without ladders", {"spec.retry": {"rungs": []}}, ("spec.retry.ladders", "is missing...")),
    _refused(
        "a ladder without rungs",
        _retry(_RUNGS, _ladder("404")),
        ("spec.retry.ladders[0].rungs", "0 entries are fewer than 1..."),
    ),
    _refused(
        "two ladders of one class",
        _retry(_RUNGS, _ladder("404", "fast"), _ladder("404", "slow")),
        ("spec.retry.ladders[1]", 'class "404" is there already...'),
    ),
    _refused(
        "a delay of more than eleven hours",
        {"spec.ordering": "Strict", **_retry([{"name": "late", "delaySeconds": 39601}])},
        ("spec.retry.rungs[0].delaySeconds", "39601 is more than 39600..."),
    ),
    _refused(
        "a negative delay",
        _retry([{"name": "early", "delaySeconds": -1}]),
        ("spec.retry.rungs[0].delaySeconds", "-1 is less than 0..."),
    ),
    _refused(
        "an API key that is no hash",
        {"spec.producers": [{"apiKeySha256": ["A" * 64]}]},
        ("spec.producers[0].apiKeySha256[0]", f'"{"A" * 64}" does not fit the pattern...'),
    ),
    _refused(
        "three API keys",
        {"spec.producers": [{"apiKeySha256": ["0" * 64, "1" * 64, "2" * 64]}]},
        ("spec.producers[0].apiKeySha256", "3 entries are more than 2..."),
    ),
    _refused(
        "a CA bundle that is none",
        {"spec.targets.allow.0.caBundle": "abc"},
        ("spec.targets.allow[0].caBundle", '"abc" does not fit the pattern...'),
    ),
    _refused(
        "memory in words",
        {"spec.workers.resources.limits": {"memory": "much"}},
        ("spec.workers.resources.limits.memory", '"much" does not fit the pattern...'),
    ),
    _refused(
        "memory as a list",
        {"spec.workers.resources.limits": {"memory": [1]}},
        ("spec.workers.resources.limits.memory", "must be a whole number or text, not [1]..."),
    ),
    _refused(
        "a route name of 41 characters",
        {"metadata.name": "r" * 41},
        ("metadata.name", f'"{"r" * 41}" is longer than 40 characters...'),
    ),
    _refused("no route name", {"metadata.name": ABSENT}, ("metadata.name", "is missing...")),
    _refused(
        "a namespace with a dot",
        {"metadata.namespace": "help.desk"},
        ("metadata.namespace", '"help.desk" does not fit the pattern...'),
    ),
    _refused(
        "a subject group without a pattern",
        {"spec.subjectGroup": {"maxValues": 3}},
        ("spec.subjectGroup.pattern", "is missing..."),
    ),
    _refused(
        "several faults",
        {"spec.ordering": "x", "spec.deletionPolicy": "Keep", "spec.queues.0.partitions": 99},
        ("spec.queues[0].partitions", "99 is more than 64..."),
        ("spec.ordering", '"x" is not one of Relaxed, Strict...'),
        ("spec.deletionPolicy", '"Keep" is not one of Retain, Delete...'),
    ),
    # ---- the rules
    _refused(
        "no default queue",
        {"spec.queues": [{"name": "a", "subjects": ["x"]}]},
        (
            "spec.queues",
            "exactly one queue must have no subjects, to take what no other queue does; here every queue has some",
        ),
    ),
    _refused(
        "two default queues",
        {"spec.queues": [{"name": "a"}, {"name": "b"}]},
        (
            "spec.queues",
            'exactly one queue must have no subjects, to take what no other queue does; here "a" and "b" have none',
        ),
    ),
    _refused(
        "a pattern that fits all",
        {"spec.queues": [{"name": "a", "subjects": ["x*", "*"]}, {"name": "b"}]},
        ("spec.queues[0].subjects[1]", '"*" fits every subject; leave subjects out of the queue that takes all others'),
    ),
    _refused(
        "rungs that are not there",
        _retry(
            _RUNGS, _ladder("404", "slow"), _ladder("5xx", "fast", "quick"), _ladder("any", "never", "slow", "late")
        ),
        ("spec.retry.ladders[1].rungs[1]", 'no rung is called "quick"; there are fast, medium, slow'),
        ("spec.retry.ladders[2].rungs[0]", 'no rung is called "never"; there are fast, medium, slow'),
        ("spec.retry.ladders[2].rungs[2]", 'no rung is called "late"; there are fast, medium, slow'),
    ),
    _refused(
        "a ladder where there are no rungs",
        _retry([], _ladder("404", "slow")),
        ("spec.retry.ladders[0].rungs[0]", 'no rung is called "slow"; there are none'),
    ),
    _refused(
        "a class that is not there",
        _retry(_RUNGS, _ladder("4xx", "fast"), _ladder("600", "fast")),
        (
            "spec.retry.ladders[1].class",
            'no error class is called "600"; there are connection, timeout, tls, refused, 3xx, 4xx, 5xx, any, and every status from 300 to 599',
        ),
    ),
    _refused(
        "a rung called first",
        _retry([{"name": "first", "delaySeconds": 1}], _ladder("any", "first")),
        ("spec.retry.rungs[0].name", '"first" stands for the first attempt; choose another name for the rung'),
    ),
    _refused(
        "long delays in Relaxed",
        _retry(
            [
                {"name": "fast", "delaySeconds": 900},
                {"name": "slow", "delaySeconds": 901},
                {"name": "late", "delaySeconds": 3600},
            ]
        ),
        (
            "spec.retry.rungs[1]",
            'rung "slow" waits 901 s; with ordering Relaxed a rung waits at most 900 s, with Strict 39600 s',
        ),
        (
            "spec.retry.rungs[2]",
            'rung "late" waits 3600 s; with ordering Relaxed a rung waits at most 900 s, with Strict 39600 s',
        ),
    ),
    _refused(
        "rungs in disorder",
        _retry(
            [{"name": "a", "delaySeconds": 5}, {"name": "b", "delaySeconds": 60}, {"name": "c", "delaySeconds": 30}]
        ),
        ("spec.retry.rungs[2]", "rungs must come shortest delay first, but their delays are [5, 60, 30]"),
    ),
    _refused(
        "a ladder of 101 retries",
        _retry(_RUNGS, _ladder("5xx", "fast", "medium", "slow", retriesPerRung=34)),
        ("spec.retry.ladders[0].retriesPerRung", "34 retries on each of 3 rungs make 102; a ladder holds at most 100"),
    ),
    _refused(
        "more Pods at least than at most",
        {"spec.autoscaling.minReplicas": 11},
        ("spec.autoscaling.minReplicas", "minReplicas 11 is more than maxReplicas 10"),
    ),
    _refused(
        "a namespace without a ServiceAccount",
        {"spec.producers": [{"apiKeySha256": ["0" * 64]}, {"namespace": "helpdesk"}]},
        ("spec.producers[1]", 'namespace "helpdesk" needs a serviceAccount beside it'),
    ),
    _refused(
        "a ServiceAccount without a namespace",
        {"spec.producers": [{"serviceAccount": "channels"}]},
        ("spec.producers[0]", 'serviceAccount "channels" needs a namespace beside it'),
    ),
    _refused(
        "a producer that is nobody",
        {"spec.producers": [{"ratePerSecond": 1}]},
        ("spec.producers[0]", "a producer needs namespace and serviceAccount, or apiKeySha256"),
    ),
    _url("another scheme", "ftp://a.example/", '"ftp://a.example/" must begin with http:// or https://'),
    _url("no scheme", "a.example/hooks", '"a.example/hooks" must begin with http:// or https://'),
    _url("a password in the URL", "https://me:secret@a.example/", "the URL must not carry a user name or a password"),
    _url(
        "a query in the URL",
        "https://a.example/?x=1",
        '"https://a.example/?x=1" must end with its path; a query or a fragment is not compared',
    ),
    _url(
        "a fragment in the URL",
        "https://a.example#x",
        '"https://a.example#x" must end with its path; a query or a fragment is not compared',
    ),
    _url("no host", "https:///hooks", _HOST.format("https:///hooks")),
    _url("every host", "https://*/", _HOST.format("https://*/")),
    _url("a suffix of one label", "https://*.com/", _HOST.format("https://*.com/")),
    _url("a star inside the host", "https://a.*.example.com/", _HOST.format("https://a.*.example.com/")),
    _url("an address as one number", "http://2130706433/", _HOST.format("http://2130706433/")),
    _url("an address in hexadecimal", "http://0x7f.1/", _HOST.format("http://0x7f.1/")),
    _url("an address with a leading zero", "http://127.0.0.01/", _HOST.format("http://127.0.0.01/")),
    _url("a host with a space", "http://a b.example/", _HOST.format("http://a b.example/")),
    _url("a port that is too high", "https://a.example:65536/", _PORT.format("https://a.example:65536/")),
    _url("an empty port", "https://[::1]:", _PORT.format("https://[::1]:")),
    _url(
        "a space in the path",
        "https://a.example/a b",
        '"https://a.example/a b" has a path with a character that must be written as %XX',
    ),
    _url(
        "a path that climbs",
        "https://a.example/a/%2e%2E/b",
        '"https://a.example/a/%2e%2E/b" must not hold the path segments . and ..',
    ),
    _url("a line break in the URL", "https://a.example/a\nb", "the path holds a character that must be written as %XX"),
    _refused(
        "certificates for plain HTTP",
        {"spec.targets.allow.0": {"name": "a", "url": "http://a.example/", "clientCertSecretName": "x"}},
        (
            "spec.targets.allow[0].clientCertSecretName",
            "clientCertSecretName has no use with http://a.example/; certificates need https",
        ),
    ),
    _refused(
        "ranges that are none",
        {"spec.targets.allow.0.cidrs": ["10.0.0.0/8", "10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/104", "010.0.0.0/8"]},
        *(
            (f"spec.targets.allow[0].cidrs[{index}]", f'"{text}" is no address range such as 10.0.0.0/8 or fd00::/8')
            for index, text in enumerate(("10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/104", "010.0.0.0/8"), 1)
        ),
    ),
    _refused(
        "a range with too many bits",
        {"spec.targets.allow.0.cidrs": ["10.1.2.3/8"]},
        ("spec.targets.allow[0].cidrs[0]", '"10.1.2.3/8" has bits beyond its prefix; did you mean 10.0.0.0/8?'),
    ),
    _refused(
        "a subject group that captures nothing",
        {"spec.subjectGroup": {"pattern": r"^pc_\((?:a|[(])"}},
        (
            "spec.subjectGroup.pattern",
            r'"^pc_\((?:a|[(])" must have exactly one capture group, not 0; (?:...) groups without capturing',
        ),
    ),
    _refused(
        "a subject group that captures twice",
        {"spec.subjectGroup": {"pattern": "(a)(?P<x>b)"}},
        (
            "spec.subjectGroup.pattern",
            '"(a)(?P<x>b)" must have exactly one capture group, not 2; (?:...) groups without capturing',
        ),
    ),
    _refused(
        "a toleration without a key",
        {"spec.workers.tolerations": [{"value": "x"}]},
        ("spec.workers.tolerations[0]", "a toleration without a key needs operator Exists"),
    ),
    Manifest(
        "another ordering",
        changed({"spec.ordering": "Strict"}),
        (
            (
                "spec.ordering",
                "ordering is Relaxed and cannot become Strict; make a new route and let this one run empty",
            ),
        ),
        old=base(),
    ),
)
