"""Manifests that the schema refuses."""

from contract.crd.making import ABSENT, RUNGS, Manifest, ladder, outcome, refused, with_outcomes, with_retry

AGAINST_SCHEMA: tuple[Manifest, ...] = (
    refused("no spec", {"spec": ABSENT}, ("spec", "is missing...")),
    refused("no queues", {"spec.queues": ABSENT}, ("spec.queues", "is missing...")),
    refused("queues null", {"spec.queues": None}, ("spec.queues", "is missing...")),
    refused("empty queues", {"spec.queues": []}, ("spec.queues", "0 entries are fewer than 1...")),
    refused("no targets", {"spec.targets": ABSENT}, ("spec.targets", "is missing...")),
    refused("no allow rule", {"spec.targets.allow": []}, ("spec.targets.allow", "0 entries are fewer than 1...")),
    refused(
        "too many queues",
        {"spec.queues": [{"name": "z"}, *({"name": f"q{i}", "subjects": [f"{i}*"]} for i in range(8))]},
        ("spec.queues", "9 entries are more than 8..."),
    ),
    refused(
        "a misspelt field", {"spec.ordring": "Strict"}, ("spec.ordring", "unknown field; did you mean ordering?...")
    ),
    refused(
        "a misspelt field in a list",
        {"spec.queues.0.partition": 4},
        ("spec.queues[0].partition", "unknown field; did you mean partitions?..."),
    ),
    refused(
        "an unknown ordering",
        {"spec.ordering": "relaxed"},
        ("spec.ordering", '"relaxed" is not one of Relaxed, Strict...'),
    ),
    refused("no partition", {"spec.queues.0.partitions": 0}, ("spec.queues[0].partitions", "0 is less than 1...")),
    refused("65 partitions", {"spec.queues.0.partitions": 65}, ("spec.queues[0].partitions", "65 is more than 64...")),
    refused(
        "partitions as text",
        {"spec.queues.0.partitions": "4"},
        ("spec.queues[0].partitions", 'must be a whole number, not "4"...'),
    ),
    refused(
        "half a partition",
        {"spec.queues.0.partitions": 1.5},
        ("spec.queues[0].partitions", "must be a whole number, not 1.5..."),
    ),
    refused(
        "a queue name in capitals",
        {"spec.queues.0.name": "Messages"},
        ("spec.queues[0].name", '"Messages" does not match the pattern...'),
    ),
    refused(
        "a queue name with a line break",
        {"spec.queues.0.name": "messages\n"},
        ("spec.queues[0].name", '"messages\\n" does not match the pattern...'),
    ),
    refused(
        "a long queue name",
        {"spec.queues.0.name": "m" * 25},
        ("spec.queues[0].name", f'"{"m" * 25}" is longer than 24 characters...'),
    ),
    refused(
        "two queues of one name",
        {"spec.queues": [{"name": "a"}, {"name": "a", "subjects": ["x"]}]},
        ("spec.queues[1]", 'name "a" is a duplicate...'),
    ),
    *(
        refused(
            f"signing keys of the Secret {name!r}",
            {"spec.targets.allow.0": {"name": "a", "url": "https://a.example/", "signing": {"secretName": name}}},
            ("spec.targets.allow[0].signing.secretName", f'"{name}" does not match the pattern...'),
        )
        for name in ("../other", "a/b", "..", ".keys", "Keys")
    ),
    *(
        refused(
            f"a header from {secret!r}, key {key!r}",
            {
                "spec.targets.allow.0": {
                    "name": "a",
                    "url": "https://a.example/",
                    "auth": {"headers": [{"name": "X-Key", "secretName": secret, "key": key}]},
                }
            },
            (f"spec.targets.allow[0].auth.headers[0].{field}", f'"{wrong}" does not match the pattern...'),
        )
        for secret, key, field, wrong in (
            ("../other", "k", "secretName", "../other"),
            ("_tokens", "k", "secretName", "_tokens"),
            ("s", "../k", "key", "../k"),
            ("s", "a/b", "key", "a/b"),
            ("s", "..data", "key", "..data"),
        )
    ),
    refused(
        "a signing scheme that does not exist",
        {"spec.signing": {"secretName": "keys", "scheme": "v2"}},
        ("spec.signing.scheme", '"v2" is not one of v1, v1a...'),
    ),
    refused(
        "a pattern twice",
        {"spec.queues": [{"name": "a"}, {"name": "b", "subjects": ["x", "x"]}]},
        ("spec.queues[1].subjects[1]", '"x" is a duplicate...'),
    ),
    refused(
        "no patterns in the list",
        {"spec.queues": [{"name": "a"}, {"name": "b", "subjects": []}]},
        ("spec.queues[1].subjects", "0 entries are fewer than 1..."),
    ),
    refused(
        "queues as a mapping", {"spec.queues": {"name": "a"}}, ("spec.queues", 'must be a list, not {"name": "a"}...')
    ),
    refused("a null queue", {"spec.queues": [None]}, ("spec.queues[0]", "must be a mapping, not null...")),
    refused(
        "a timeout with a unit",
        {"spec.delivery.timeoutSeconds": "30s"},
        ("spec.delivery.timeoutSeconds", 'must be a whole number, not "30s"...'),
    ),
    refused(
        "a timeout of 301 s",
        {"spec.delivery.timeoutSeconds": 301},
        ("spec.delivery.timeoutSeconds", "301 is more than 300..."),
    ),
    refused(
        "a status that is no text",
        with_retry(RUNGS, {"class": 404, "rungs": ["slow"]}),
        ("spec.retry.ladders[0].class", 'must be text, not 404; put it in quotes: "404"...'),
    ),
    refused(
        "a flag that is text",
        {"spec.suspend.delivery": "true"},
        ("spec.suspend.delivery", 'must be true or false, not "true"...'),
    ),
    refused(
        "a breaker with numbers out of range",
        {"spec.delivery": {"breaker": {"consecutiveFailures": 0, "failureShare": {"percent": 101}}}},
        ("spec.delivery.breaker.consecutiveFailures", "0 is less than 1..."),
        ("spec.delivery.breaker.failureShare.percent", "101 is more than 100..."),
    ),
    refused(
        "a share of failures without its percentage",
        {"spec.targets.allow.0.breaker": {"failureShare": {"windowSeconds": 5}}},
        ("spec.targets.allow[0].breaker.failureShare.percent", "is missing..."),
    ),
    refused(
        "limits with numbers out of range and an unknown scope",
        {"spec.targets.allow.0.limits": {"ratePerSecond": 0, "concurrency": 100001, "per": "Pod"}},
        ("spec.targets.allow[0].limits.ratePerSecond", "0 is less than 1..."),
        ("spec.targets.allow[0].limits.concurrency", "100001 is more than 100000..."),
        ("spec.targets.allow[0].limits.per", "..."),
    ),
    refused("retry without ladders", {"spec.retry": {"rungs": []}}, ("spec.retry.ladders", "is missing...")),
    refused(
        "a negative number of retries",
        with_retry(RUNGS, ladder("404", "fast") | {"retriesPerRung": -1}),
        ("spec.retry.ladders[0].retriesPerRung", "-1 is less than 0..."),
    ),
    refused(
        "an outcome without statuses",
        with_outcomes(outcome("Discard")),
        ("spec.retry.outcomes[0].statuses", "0 entries are fewer than 1..."),
    ),
    refused(
        "an unknown result",
        with_outcomes(outcome("Ignore", "410")),
        ("spec.retry.outcomes[0].result", '"Ignore" is not one of Delivered, Discard...'),
    ),
    refused(
        "a success as an outcome",
        with_outcomes(outcome("Discard", "204")),
        ("spec.retry.outcomes[0].statuses[0]", '"204" does not match the pattern...'),
    ),
    refused(
        "an age of no time",
        {"spec.delivery.maxAgeSeconds": 0},
        ("spec.delivery.maxAgeSeconds", "0 is less than 1..."),
    ),
    refused(
        "a delay of more than seven days",
        {"spec.ordering": "Strict", **with_retry([{"name": "late", "delaySeconds": 604801}])},
        ("spec.retry.rungs[0].delaySeconds", "604801 is more than 604800..."),
    ),
    refused(
        "an unknown end of ladders",
        {"spec.retry": {"rungs": [], "ladders": [], "onExhausted": "hold"}},
        ("spec.retry.onExhausted", '"hold" is not one of DeadLetter, Hold...'),
    ),
    refused(
        "a longest wait of more than seven days",
        {"spec.retry": {"rungs": [], "ladders": [], "maxRetryAfterSeconds": 604801}},
        ("spec.retry.maxRetryAfterSeconds", "604801 is more than 604800..."),
    ),
    refused(
        "a negative delay",
        with_retry([{"name": "early", "delaySeconds": -1}]),
        ("spec.retry.rungs[0].delaySeconds", "-1 is less than 0..."),
    ),
    refused(
        "an API key that is no hash",
        {"spec.producers": [{"apiKeySha256": ["A" * 64]}]},
        ("spec.producers[0].apiKeySha256[0]", f'"{"A" * 64}" does not match the pattern...'),
    ),
    refused(
        "three API keys",
        {"spec.producers": [{"apiKeySha256": ["0" * 64, "1" * 64, "2" * 64]}]},
        ("spec.producers[0].apiKeySha256", "3 entries are more than 2..."),
    ),
    refused(
        "a producer of no subjects",
        {"spec.producers": [{"apiKeySha256": ["0" * 64], "subjects": []}]},
        ("spec.producers[0].subjects", "0 entries are fewer than 1..."),
    ),
    refused(
        "a producer of too many patterns",
        {"spec.producers": [{"apiKeySha256": ["0" * 64], "subjects": [f"{n}_*" for n in range(33)]}]},
        ("spec.producers[0].subjects", "33 entries are more than 32..."),
    ),
    refused(
        "a producer's pattern that is too long",
        {"spec.producers": [{"apiKeySha256": ["0" * 64], "subjects": ["*a" * 128 + "*"]}]},
        ("spec.producers[0].subjects[0]", f'"{("*a" * 60)[:119]}… is longer than 256 characters...'),
    ),
    refused(
        "a CA bundle that is none",
        {
            "spec.targets.allow.0.caBundle": "abc",
            "spec.targets.allow.0.auth": {
                "oauth2": {"tokenURL": "https://id.example/", "secretName": "s", "caBundle": "abc"}
            },
        },
        ("spec.targets.allow[0].caBundle", '"abc" does not match the pattern...'),
        ("spec.targets.allow[0].auth.oauth2.caBundle", '"abc" does not match the pattern...'),
    ),
    refused(
        "memory in words",
        {"spec.workers.resources.limits": {"memory": "much"}},
        ("spec.workers.resources.limits.memory", '"much" does not match the pattern...'),
    ),
    refused(
        "a spread over parts without a name",
        {"spec.workers.topologySpread": [{"maxSkew": 1}]},
        ("spec.workers.topologySpread[0].topologyKey", "is missing..."),
    ),
    refused(
        "memory as a list",
        {"spec.workers.resources.limits": {"memory": [1]}},
        ("spec.workers.resources.limits.memory", "must be a whole number or text, not [1]..."),
    ),
    refused(
        "a route name of 41 characters",
        {"metadata.name": "r" * 41},
        ("metadata.name", f'"{"r" * 41}" is longer than 40 characters...'),
    ),
    refused("no route name", {"metadata.name": ABSENT}, ("metadata.name", "is missing...")),
    refused(
        "a namespace with a dot",
        {"metadata.namespace": "help.desk"},
        ("metadata.namespace", '"help.desk" does not match the pattern...'),
    ),
    refused(
        "a subject group without a pattern",
        {"spec.subjectGroup": {"maxValues": 3}},
        ("spec.subjectGroup.pattern", "is missing..."),
    ),
    refused(
        "an alias of a KMS key",
        {"spec.encryption": {"kmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:alias/company-key"}},
        (
            "spec.encryption.kmsKeyArn",
            '"arn:aws:kms:eu-west-1:111122223333:alias/company-key" does not match the pattern...',
        ),
    ),
    refused("encryption without a key", {"spec.encryption": {}}, ("spec.encryption.kmsKeyArn", "is missing...")),
    refused(
        "several faults",
        {"spec.ordering": "x", "spec.deletionPolicy": "Keep", "spec.queues.0.partitions": 99},
        ("spec.queues[0].partitions", "99 is more than 64..."),
        ("spec.ordering", '"x" is not one of Relaxed, Strict...'),
        ("spec.deletionPolicy", '"Keep" is not one of Retain, Delete...'),
    ),
)
