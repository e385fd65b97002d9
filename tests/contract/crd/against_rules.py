"""Manifests that a rule refuses."""

from contract.crd.making import (
    CA_BUNDLE,
    RUNGS,
    Manifest,
    base,
    changed,
    ladder,
    outcome,
    refused,
    with_outcomes,
    with_retry,
    with_url,
)

_HOST = (
    '"{}" must have as host a name, an address, or *.suffix with a suffix of at least two labels, such as *.example.com'
)
_PORT = '"{}" must have a port from 1 to 65535, or none'

AGAINST_RULES: tuple[Manifest, ...] = (
    refused(
        "no default queue",
        {"spec.queues": [{"name": "a", "subjects": ["x"]}]},
        (
            "spec.queues",
            "exactly one queue must have no subjects, to take the subjects that no other queue takes; here every queue has some",
        ),
    ),
    refused(
        "two default queues",
        {"spec.queues": [{"name": "a"}, {"name": "b"}]},
        (
            "spec.queues",
            'exactly one queue must have no subjects, to take the subjects that no other queue takes; here "a" and "b" have none',
        ),
    ),
    refused(
        "a pattern that fits all",
        {"spec.queues": [{"name": "a", "subjects": ["x*", "*"]}, {"name": "b"}]},
        (
            "spec.queues[0].subjects[1]",
            '"*" matches every subject; leave subjects out of the queue that takes all others',
        ),
    ),
    refused(
        "a hold in Relaxed",
        {"spec.retry": {"rungs": [], "ladders": [], "onExhausted": "Hold"}},
        (
            "spec.retry.onExhausted",
            "only in Strict a message can hold its subject; set spec.ordering to Strict, or leave it out",
        ),
    ),
    refused(
        "rungs that are not there",
        with_retry(
            RUNGS, ladder("404", "slow"), ladder("5xx", "fast", "quick"), ladder("any", "never", "slow", "late")
        ),
        ("spec.retry.ladders[1].rungs[1]", 'no rung is called "quick"; there are fast, medium, slow'),
        ("spec.retry.ladders[2].rungs[0]", 'no rung is called "never"; there are fast, medium, slow'),
        ("spec.retry.ladders[2].rungs[2]", 'no rung is called "late"; there are fast, medium, slow'),
    ),
    refused(
        "a delivered status that is not kept",
        with_outcomes({**outcome("Delivered", "409"), "keep": False}),
        (
            "spec.retry.outcomes[0].keep",
            "only with the result Discard a message may be dropped without a dead letter",
        ),
    ),
    refused(
        "two rungs of one name",
        with_retry([*RUNGS, {"name": "slow", "delaySeconds": 900}], ladder("404", "slow")),
        ("spec.retry.rungs[3]", 'more than one rung is called "slow"'),
    ),
    refused(
        "two ladders of one class",
        with_retry(RUNGS, ladder("4xx", "fast"), ladder("404", "fast"), ladder("404", "slow")),
        ("spec.retry.ladders[2]", 'more than one ladder is of the class "404"'),
    ),
    refused(
        "two ladders of the same statuses",
        with_retry(RUNGS, ladder("404, 409", "fast"), ladder("404, 409", "slow")),
        ("spec.retry.ladders[1]", 'more than one ladder is of the class "404, 409"'),
    ),
    refused(
        "a ladder where there are no rungs",
        with_retry([], ladder("404", "slow")),
        ("spec.retry.ladders[0].rungs[0]", 'no rung is called "slow"; there are none'),
    ),
    refused(
        "a class that is not there",
        with_retry(RUNGS, ladder("4xx", "fast"), ladder("600", "fast")),
        (
            "spec.retry.ladders[1].class",
            'no error class is called "600"; there are connection, timeout, tls, refused, 3xx, 4xx, 5xx, any, and statuses from 300 to 599, such as "404" or "408, 425, 429"',
        ),
    ),
    refused(
        "a status among classes",
        with_retry(RUNGS, ladder("404, 4xx", "fast")),
        (
            "spec.retry.ladders[0].class",
            'no error class is called "404, 4xx"; there are connection, timeout, tls, refused, 3xx, 4xx, 5xx, any, and statuses from 300 to 599, such as "404" or "408, 425, 429"',
        ),
    ),
    refused(
        "a status in two ladders",
        with_retry(RUNGS, ladder("408, 429", "fast"), ladder("500,429", "slow")),
        ("spec.retry.ladders[1]", "a status is in more than one ladder"),
    ),
    refused(
        "a status with two results",
        with_outcomes(outcome("Delivered", "409", "410"), outcome("Discard", "410")),
        ("spec.retry.outcomes[1]", "a status has more than one result"),
    ),
    refused(
        "a status with a ladder and a result",
        with_outcomes(outcome("Delivered", "409"), ladders=(ladder("409,429", "fast"),)),
        (
            "spec.retry.outcomes[0].statuses[0]",
            "a status with a result has a ladder, which would never be used; remove it there or here",
        ),
    ),
    refused(
        "a rung called first",
        with_retry([{"name": "first", "delaySeconds": 1}], ladder("any", "first")),
        ("spec.retry.rungs[0].name", '"first" stands for the first attempt; choose another name for the rung'),
    ),
    refused(
        "a ladder of more than ten days",
        with_retry(
            [{"name": "long", "delaySeconds": 288001}, {"name": "week", "delaySeconds": 604800}],
            ladder("any", "week"),
            ladder("5xx", "long", retriesPerRung=3),
        ),
        (
            "spec.retry.ladders[1].rungs[0]",
            'the delays of the ladder "5xx" add up to more than 864000 s (10 days), and SQS deletes a message after 14',
        ),
    ),
    refused(
        "a rung climbed twice",
        with_retry([{"name": "week", "delaySeconds": 604800}], ladder("4xx", "week", "week")),
        (
            "spec.retry.ladders[0].rungs[1]",
            'the delays of the ladder "4xx" add up to more than 864000 s (10 days), and SQS deletes a message after 14',
        ),
    ),
    refused(
        "a breaker that holds for longer than a ladder leaves",
        with_retry([{"name": "week", "delaySeconds": 604800}], ladder("4xx", "week"))
        | {"spec.delivery": {"breaker": {"maxHoldSeconds": 432001}}},
        (
            "spec.delivery.breaker",
            "maxHoldSeconds and the delays of a ladder add up to more than 1036800 s (12 days), and SQS deletes a message after 14",
        ),
    ),
    refused(
        "a breaker of a rule that does so",
        with_retry([{"name": "week", "delaySeconds": 604800}], ladder("4xx", "week"))
        | {"spec.targets.allow.0.breaker": {"maxHoldSeconds": 864000}},
        (
            "spec.targets.allow[0]",
            "maxHoldSeconds of a breaker and the delays of a ladder add up to more than 1036800 s (12 days), and SQS deletes a message after 14",
        ),
    ),
    refused(
        "limits of nothing",
        {"spec.targets.allow.0.limits": {}},
        ("spec.targets.allow[0].limits", "limits must have ratePerSecond, concurrency, or both"),
    ),
    refused(
        "a burst without a rate",
        {"spec.targets.allow.0.limits": {"concurrency": 4, "burst": 10}},
        ("spec.targets.allow[0].limits.burst", "burst has no effect without ratePerSecond; add it, or remove burst"),
    ),
    refused(
        "rungs in disorder",
        with_retry(
            [{"name": "a", "delaySeconds": 5}, {"name": "b", "delaySeconds": 60}, {"name": "c", "delaySeconds": 30}]
        ),
        ("spec.retry.rungs[2]", "rungs must be sorted by delay, shortest first, but their delays are [5, 60, 30]"),
    ),
    refused(
        "a ladder of 101 retries",
        with_retry(RUNGS, ladder("5xx", "fast", "medium", "slow", retriesPerRung=34)),
        ("spec.retry.ladders[0].retriesPerRung", "34 retries on each of 3 rungs make 102; a ladder holds at most 100"),
    ),
    refused(
        "more Pods at least than at most",
        {"spec.autoscaling.minReplicas": 11},
        ("spec.autoscaling.minReplicas", "minReplicas 11 is more than maxReplicas 10"),
    ),
    refused(
        "a namespace without a ServiceAccount",
        {"spec.producers": [{"apiKeySha256": ["0" * 64]}, {"namespace": "helpdesk"}]},
        ("spec.producers[1]", 'namespace "helpdesk" needs a serviceAccount beside it'),
    ),
    refused(
        "a ServiceAccount without a namespace",
        {"spec.producers": [{"serviceAccount": "channels"}]},
        ("spec.producers[0]", 'serviceAccount "channels" needs a namespace beside it'),
    ),
    refused(
        "a producer that is nobody",
        {"spec.producers": [{"ratePerSecond": 1}]},
        ("spec.producers[0]", "a producer needs namespace and serviceAccount, or apiKeySha256"),
    ),
    with_url("another scheme", "ftp://a.example/", '"ftp://a.example/" must begin with http:// or https://'),
    with_url("no scheme", "a.example/hooks", '"a.example/hooks" must begin with http:// or https://'),
    with_url(
        "a password in the URL", "https://me:secret@a.example/", "the URL must not carry a user name or a password"
    ),
    with_url(
        "a query in the URL",
        "https://a.example/?x=1",
        '"https://a.example/?x=1" must end with its path; a query or a fragment is not compared',
    ),
    with_url(
        "a fragment in the URL",
        "https://a.example#x",
        '"https://a.example#x" must end with its path; a query or a fragment is not compared',
    ),
    with_url("no host", "https:///hooks", _HOST.format("https:///hooks")),
    with_url("every host", "https://*/", _HOST.format("https://*/")),
    with_url("a suffix of one label", "https://*.com/", _HOST.format("https://*.com/")),
    with_url("a star inside the host", "https://a.*.example.com/", _HOST.format("https://a.*.example.com/")),
    with_url("an address as one number", "http://2130706433/", _HOST.format("http://2130706433/")),
    with_url("an address in hexadecimal", "http://0x7f.1/", _HOST.format("http://0x7f.1/")),
    with_url("an address with a leading zero", "http://127.0.0.01/", _HOST.format("http://127.0.0.01/")),
    with_url("a host with a space", "http://a b.example/", _HOST.format("http://a b.example/")),
    with_url("a port that is too high", "https://a.example:65536/", _PORT.format("https://a.example:65536/")),
    with_url("an empty port", "https://[::1]:", _PORT.format("https://[::1]:")),
    with_url(
        "a space in the path",
        "https://a.example/a b",
        '"https://a.example/a b" has a path with a character that must be written as %XX',
    ),
    with_url(
        "a path that climbs",
        "https://a.example/a/%2e%2E/b",
        '"https://a.example/a/%2e%2E/b" must not hold the path segments . and ..',
    ),
    *(
        with_url(
            f"a path with the escape {escape}",
            f"https://a.example/a{escape}b",
            f'"https://a.example/a{escape}b" must not hold an escape that servers read in different ways, such as %2F, %3B or %00',
        )
        for escape in ("%2F", "%2e", "%5c", "%3b", "%00", "%7F", "%252e", "%c0%ae", "%ff")
    ),
    with_url(
        "a line break in the URL", "https://a.example/a\nb", "the path holds a character that must be written as %XX"
    ),
    *(
        refused(
            f"credentials: {name}",
            {"spec.targets.allow.0": {"name": "a", "url": url, "auth": auth}},
            (f"spec.targets.allow[0].auth{field}", message),
        )
        for name, url, auth, field, message in (
            ("none", "https://a.example/", {}, "", "auth must have exactly one of headers, oauth2, ..."),
            (
                "two kinds",
                "https://a.example/",
                {"serviceAccountToken": {"audience": "a"}, "awsSigV4": {"service": "s3", "region": "eu-west-1"}},
                "",
                "auth must have exactly one of headers, oauth2, ...",
            ),
            (
                "in the clear",
                "http://a.example/",
                {"serviceAccountToken": {"audience": "a"}},
                "",
                "credentials are not sent to http://a.example/ in the clear: use https, ...",
            ),
            (
                "a token that ingest accepts",
                "https://a.example/",
                {"serviceAccountToken": {"audience": "chaski"}},
                ".serviceAccountToken.audience",
                "the target could use a token with this audience at ...",
            ),
            (
                "a token that the API server accepts",
                "https://a.example/",
                {"serviceAccountToken": {"audience": "https://kubernetes.default.svc.cluster.local"}},
                ".serviceAccountToken.audience",
                "the target could use a token with this audience at ...",
            ),
            (
                "a client secret in the clear",
                "https://a.example/",
                {"oauth2": {"tokenURL": "http://id.example/token", "secretName": "client"}},
                ".oauth2.tokenURL",
                "the token endpoint must be https; ...",
            ),
            (
                "certificates of a token endpoint without TLS",
                "https://a.example/",
                {
                    "oauth2": {
                        "tokenURL": "http://id.team.svc/token",
                        "secretName": "client",
                        "cidrs": ["10.0.0.0/8"],
                        "caBundle": CA_BUNDLE,
                    }
                },
                ".oauth2.caBundle",
                "caBundle has no effect with http://id.team.svc/token; certificates need https",
            ),
        )
    ),
    *(
        refused(
            f"the header {name} by a rule",
            {
                "spec.targets.allow.0": {
                    "name": "a",
                    "url": "https://a.example/",
                    "auth": {"headers": [{"name": name, "secretName": "s", "key": "k"}]},
                }
            },
            (
                "spec.targets.allow[0].auth.headers[0].name",
                f'"{name}" belongs to the connection or to Chaski, and can\'t be set',
            ),
        )
        for name in (
            *("Host", "content-length", "Transfer_Encoding", "TE", "Connection", "Keep-Alive", "Upgrade", "Expect"),
            *("Trailer", "HTTP2-Settings", "Proxy-Authorization", "Accept-Encoding", "webhook_id", "Chaski-Id"),
        )
    ),
    refused(
        "certificates for plain HTTP",
        {"spec.targets.allow.0": {"name": "a", "url": "http://a.example/", "clientCertSecretName": "x"}},
        (
            "spec.targets.allow[0].clientCertSecretName",
            "clientCertSecretName has no effect with http://a.example/; certificates need https",
        ),
    ),
    refused(
        "nothing redacted, and not stored",
        {"spec.redact": {"stored": True}},
        ("spec.redact.stored", "stored has no effect without content or headers"),
    ),
    refused(
        "CA bundles that no ConfigMap holds",
        {
            "spec.targets.allow": [
                {"name": f"t{n}", "url": "https://a.example/", "caBundle": CA_BUNDLE} for n in range(33)
            ]
        },
        (
            "spec.targets.allow",
            "the caBundles add up to 540672 bytes, but at most 524288 are allowed, since one ConfigMap holds the whole route",
        ),
    ),
    refused(
        "CA bundles of targets and token endpoints that no ConfigMap holds",
        {
            "spec.targets.allow": [
                {
                    "name": f"t{n}",
                    "url": "https://a.example/",
                    "caBundle": CA_BUNDLE,
                    "auth": {"oauth2": {"tokenURL": "https://a.example/", "secretName": "s", "caBundle": CA_BUNDLE}},
                }
                for n in range(17)
            ]
        },
        (
            "spec.targets.allow",
            "the caBundles add up to 557056 bytes, but at most 524288 are allowed, since one ConfigMap holds the whole route",
        ),
    ),
    refused(
        "CA bundles whose characters take more bytes than one",
        {
            "spec.targets.allow": [
                {"name": f"t{n}", "url": "https://a.example/", "caBundle": CA_BUNDLE[:8_000] + "\u00e9" * 4_193}
                for n in range(32)
            ]
        },
        (
            "spec.targets.allow",
            "the caBundles add up to 524352 bytes, but at most 524288 are allowed, since one ConfigMap holds the whole route",
        ),
    ),
    refused(
        "ranges that are none",
        {"spec.targets.allow.0.cidrs": ["10.0.0.0/8", "10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/104", "010.0.0.0/8"]},
        *(
            (
                f"spec.targets.allow[0].cidrs[{index}]",
                f'"{text}" is not an address range such as 10.0.0.0/8 or fd00::/8',
            )
            for index, text in enumerate(("10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/104", "010.0.0.0/8"), 1)
        ),
    ),
    refused(
        "a range with too many bits",
        {"spec.targets.allow.0.cidrs": ["10.1.2.3/8"]},
        ("spec.targets.allow[0].cidrs[0]", '"10.1.2.3/8" has bits beyond its prefix; did you mean 10.0.0.0/8?'),
    ),
    refused(
        "a subject group that captures nothing",
        {"spec.subjectGroup": {"pattern": r"^pc_\((?:a|[(])"}},
        (
            "spec.subjectGroup.pattern",
            r'"^pc_\((?:a|[(])" must have exactly one capture group, not 0; (?:...) groups without capturing',
        ),
    ),
    refused(
        "a subject group that captures twice",
        {"spec.subjectGroup": {"pattern": "(a)(?P<x>b)"}},
        (
            "spec.subjectGroup.pattern",
            '"(a)(?P<x>b)" must have exactly one capture group, not 2; (?:...) groups without capturing',
        ),
    ),
    refused(
        "a subject group that is longer than any subject",
        {"spec.subjectGroup": {"pattern": r"(\pL{1000})"}},
        (
            "spec.subjectGroup.pattern",
            "must not repeat anything more than 512 times, since a subject has at most 512 characters",
        ),
    ),
    refused(
        "a Unicode class that only some know",
        {"spec.subjectGroup": {"pattern": r"^\\p([\p{Lu}\p{Old_Italic}])"}},
        (
            "spec.subjectGroup.pattern",
            r"must not use other Unicode classes than general categories such as \p{Lu} and scripts of one word such as \p{Greek}",
        ),
    ),
    refused(
        "a part of a character",
        {"spec.subjectGroup": {"pattern": r"(a)\C"}},
        ("spec.subjectGroup.pattern", r"must not use \C, which matches a part of a character"),
    ),
    refused(
        "a group with an accent in its name",
        {"spec.subjectGroup": {"pattern": "(?P<société>a)"}},
        (
            "spec.subjectGroup.pattern",
            "must not have a group whose name has other characters than A-Z, a-z, 0-9 and _",
        ),
    ),
    refused(
        "a toleration without a key",
        {"spec.workers.tolerations": [{"value": "x"}]},
        ("spec.workers.tolerations[0]", "a toleration without a key needs operator Exists"),
    ),
    refused(
        "a label of Chaski's own",
        {"spec.workers.labels": {"team": "a", "chaski.dev/queue": "b"}},
        ("spec.workers.labels", '"chaski.dev/queue" belongs to Chaski; choose another name'),
    ),
    refused(
        "an annotation whose name is none",
        {"spec.workers.annotations": {"a b": "c"}},
        ("spec.workers.annotations", '"a b" is not a name such as team or example.com/team'),
    ),
    refused(
        "a priority of the cluster's own Pods",
        {"spec.workers.priorityClassName": "system-node-critical"},
        (
            "spec.workers.priorityClassName",
            '"system-node-critical" is a class of the cluster itself; name one of your own',
        ),
    ),
    Manifest(
        "another ordering",
        changed({"spec.ordering": "Strict"}),
        (
            (
                "spec.ordering",
                "ordering is Relaxed and cannot become Strict; create a new route and let this one drain",
            ),
        ),
        old=base(),
    ),
)
