"""ChaskiRoutes that must be taken and that must be refused, for everything that judges them.

`chaski validate`, Kubernetes' validation code and a real API server all run this table.
"""

from contract.crd.against_rules import AGAINST_RULES
from contract.crd.against_schema import AGAINST_SCHEMA
from contract.crd.making import CA_BUNDLE, RUNGS, Manifest, changed, ladder, outcome, with_outcomes, with_retry

VALID: tuple[Manifest, ...] = tuple(
    Manifest(name, changed(changes))
    for name, changes in (
        ("the smallest route", {}),
        (
            "Strict with long delays",
            {
                "spec.ordering": "Strict",
                **with_retry([{"name": "late", "delaySeconds": 604800}], ladder("any", "late")),
            },
        ),
        (
            "Relaxed with delays of ten days",
            with_retry([{"name": "long", "delaySeconds": 288000}], ladder("any", "long", retriesPerRung=3)),
        ),
        (
            "a KMS key",
            {
                "spec.encryption": {
                    "kmsKeyArn": "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd12ab34cd"
                }
            },
        ),
        ("AWS's own keys", {"spec.encryption": {"kmsKeyArn": ""}}),
        ("redacted parts that are not stored", {"spec.redact": {"headers": ["Authorization"], "stored": True}}),
        ("headers of targets ignored", {"spec.retry": {"rungs": [], "ladders": [], "maxRetryAfterSeconds": 0}}),
        (
            "statuses with ladders of their own, and without retries",
            with_retry(
                RUNGS,
                ladder("408, 425,429", "slow"),
                ladder("404"),
                ladder("410", "fast", retriesPerRung=0),
                ladder(", ".join(str(status) for status in range(500, 512)), "fast"),
                ladder("5xx", "slow"),
            ),
        ),
        (
            "statuses with results",
            with_outcomes(
                outcome("Delivered", "409", "304"), outcome("Discard", "410"), ladders=(ladder("429", "slow"),)
            ),
        ),
        (
            "a status whose messages are dropped",
            with_outcomes({**outcome("Discard", "410"), "keep": False}, {**outcome("Delivered", "409"), "keep": True}),
        ),
        (
            "Strict with subjects that people decide about",
            {"spec.ordering": "Strict", "spec.retry": {"rungs": [], "ladders": [], "onExhausted": "Hold"}},
        ),
        ("Relaxed with the default end", {"spec.retry": {"rungs": [], "ladders": [], "onExhausted": "DeadLetter"}}),
        ("the longest age", {"spec.delivery.maxAgeSeconds": 31536000}),
        ("no retries at all", {"spec.retry": {"rungs": [], "ladders": []}}),
        (
            "a ladder for every kind of class",
            with_retry(
                RUNGS,
                ladder("404", "slow"),
                ladder("4xx", "fast"),
                ladder("3xx", "fast"),
                ladder("refused", "slow"),
                ladder("tls", "slow"),
                ladder("any", "fast"),
            ),
        ),
        ("a ladder at its limit", with_retry(RUNGS, ladder("5xx", "fast", "slow", retriesPerRung=50))),
        (
            "rungs with equal delays",
            with_retry([{"name": "a", "delaySeconds": 5}, {"name": "b", "delaySeconds": 5}], ladder("any", "a", "b")),
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
        ("an IPv6 target without a port", {"spec.targets.allow.0.url": "http://[fd00::1]/"}),
        ("a name without dots", {"spec.targets.allow.0.url": "http://localhost/a.b/..c"}),
        (
            "CA bundles as large as a ConfigMap holds them",
            {
                "spec.targets.allow": [
                    {"name": f"t{n}", "url": "https://a.example/", "caBundle": CA_BUNDLE} for n in range(32)
                ]
            },
        ),
        (
            "CA bundles with comments in other languages",
            {
                "spec.targets.allow": [
                    {"name": f"t{n}", "url": "https://a.example/", "caBundle": CA_BUNDLE[:8_000] + "\u00e9" * 4_192}
                    for n in range(32)
                ]
            },
        ),
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
            "producers of as many subjects as fit",
            {
                "spec.producers": [
                    {"apiKeySha256": [f"{n:064x}"], "subjects": [f"{m:03}" + "*a" * 126 for m in range(32)]}
                    for n in range(64)
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
                    "labels": {"team": "a", "example.com/cost-center": ""},
                    "annotations": {"sidecar.istio.io/inject": "true, \u00e4"},
                    "priorityClassName": "delivery",
                    "topologySpread": [
                        {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 2},
                        {"topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"},
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
            "nulls where metadata has optional fields",
            {
                f"metadata.{name}": None
                for name in (
                    *("generateName", "selfLink", "uid", "resourceVersion", "generation", "labels", "annotations"),
                    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
                    *("ownerReferences", "finalizers", "managedFields"),
                )
            },
        ),
        (
            "a label and an annotation without a value",
            {"metadata.labels": {"a": None}, "metadata.annotations": {"b": None}},
        ),
        (
            "breakers",
            {
                "spec.delivery": {"breaker": {"failureShare": {"percent": 50}, "maxHoldSeconds": 864000}},
                "spec.targets.allow.0.breaker": {"enabled": False},
            },
        ),
        (
            "limits of a rate, of attempts at once, and of both",
            {
                "spec.targets.allow": [
                    {"name": "a", "url": "https://a.example/", "limits": {"ratePerSecond": 50, "burst": 1}},
                    {"name": "b", "url": "https://b.example/", "limits": {"concurrency": 100000, "per": "Rule"}},
                    {"name": "c", "url": "https://c.example/", "limits": {"ratePerSecond": 1, "concurrency": 4}},
                ]
            },
        ),
        (
            "signing of the route and of rules",
            {
                "spec.signing": {"secretName": "keys", "scheme": "v1a"},
                "spec.targets.allow": [
                    {"name": "a", "url": "https://a.example/", "signing": {"secretName": "a.keys"}},
                    {"name": "b", "url": "http://b.example/", "signing": {"secretName": "b", "scheme": "v1a"}},
                ],
            },
        ),
        *(
            (
                f"credentials by {kind}, {len(settings)} settings",
                {"spec.targets.allow.0": {"name": "a", "url": "https://a.example/", "auth": {kind: settings}}},
            )
            for kind, settings in (
                ("headers", [{"name": "Authorization", "secretName": "a.keys", "key": "token"}]),
                ("oauth2", {"tokenURL": "https://id.example/token", "secretName": "client"}),
                (
                    "oauth2",
                    {
                        "tokenURL": "http://id.team.svc:8080/realms/a/token",
                        "secretName": "client",
                        "scopes": ["a:b", "c"],
                        "audience": "https://api.example",
                        "clientAuthentication": "Post",
                        "cidrs": ["10.0.0.0/8"],
                    },
                ),
                (
                    "oauth2",
                    {"tokenURL": "https://id.internal/token", "secretName": "client", "caBundle": CA_BUNDLE},
                ),
                ("serviceAccountToken", {"audience": "https://a.example", "expirationSeconds": 600}),
                ("awsSigV4", {"service": "execute-api", "region": "eu-central-1"}),
            )
        ),
        (
            "credentials for a private target without TLS",
            {
                "spec.targets.allow.0": {
                    "name": "a",
                    "url": "http://a.team.svc/",
                    "cidrs": ["10.0.0.0/8"],
                    "auth": {"serviceAccountToken": {"audience": "a"}},
                }
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

INVALID: tuple[Manifest, ...] = (*AGAINST_SCHEMA, *AGAINST_RULES)
