"""Routes from the text of a route file, and the validation that the API server would do.

The schema and the rules are those of `crds/chaskiroutes.yaml`; nothing is repeated here.
"""

from collections.abc import Mapping
from typing import Any

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.redaction import Redaction
from chaski_core.retry.breaker import BreakerRule, FailureShare
from chaski_core.retry.limit import LimitRule, LimitScope
from chaski_core.retry.policy import Ladder, Result, RetryPolicy, Rung, StatusRule
from chaski_core.route.default_retry import default_retry
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
    Route,
    ServiceAccountToken,
    Signing,
    SigningScheme,
    SubjectGroup,
    Suspend,
)
from chaski_core.route.validation.crd import GROUP_VERSION, KIND, with_defaults
from chaski_core.route.validation.documents import document_errors
from chaski_core.route.yaml_documents import numbered, read_documents

_DEFAULT_NAMESPACE = "default"


def load_routes(text: str) -> list[Route]:
    """The routes of a YAML text with one or several documents.

    Raises:
        InvalidRouteError: with every error of every document; with several documents each error names its own.
    """
    documents = read_documents(text)
    if not documents:
        raise InvalidRouteError([FieldError("", "has no ChaskiRoute")])
    routes: dict[str, Route] = {}
    errors: list[FieldError] = []
    for number, document in enumerate(documents, 1):
        try:
            route = load_route(document)
        except InvalidRouteError as error:
            errors += error.errors if len(documents) == 1 else numbered(error.errors, number)
            continue
        if route.key in routes:
            errors += numbered([FieldError("metadata.name", f"{route.key} is declared twice")], number)
        routes[route.key] = route
    if errors:
        raise InvalidRouteError(errors)
    return list(routes.values())


def load_route(document: Mapping[str, Any]) -> Route:
    """The route that a document declares, defaults filled in.

    Raises:
        InvalidRouteError: with all errors.
    """
    errors = validate(document)
    if errors:
        raise InvalidRouteError(errors)
    full = with_defaults(document)
    metadata, spec = full["metadata"], full["spec"]
    metadata.setdefault("namespace", _DEFAULT_NAMESPACE)
    ordering = Ordering(spec["ordering"])
    spec.setdefault("retry", default_retry(ordering))
    return Route(
        namespace=metadata["namespace"],
        name=metadata["name"],
        ordering=ordering,
        queues=tuple(_queue(raw) for raw in spec["queues"]),
        allow=tuple(_allow_rule(raw, spec["delivery"].get("breaker")) for raw in spec["targets"]["allow"]),
        delivery=_delivery(spec["delivery"]),
        retry=_retry(spec["retry"]),
        retention_days=spec["deadLetters"]["retentionDays"],
        producers=tuple(_producer(raw) for raw in spec.get("producers", ())),
        subject_group=_subject_group(spec.get("subjectGroup")),
        suspend=Suspend(spec["suspend"]["delivery"], spec["suspend"]["ingest"]),
        document=full,
        signing=_signing(spec.get("signing")),
        redaction=_redaction(spec.get("redact") or {}),
    )


def validate(document: Mapping[str, Any]) -> list[FieldError]:
    """All errors of a new ChaskiRoute; empty for a valid one."""
    return _errors(document, None)


def validate_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldError]:
    """All errors of a ChaskiRoute that replaces a valid one, including changes of immutable fields."""
    return _errors(new, with_defaults(old))


def _errors(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    kind = _kind_errors(document)
    if kind:
        return kind  # another kind of document: its fields have no meaning here
    return document_errors(with_defaults(document), old)


def _kind_errors(document: Mapping[str, Any]) -> list[FieldError]:
    wanted = {"apiVersion": GROUP_VERSION, "kind": KIND}
    return [
        FieldError(
            field, f'must be {value}, not "{document[field]}"' if field in document else f"is missing; it is {value}"
        )
        for field, value in wanted.items()
        if document.get(field) != value
    ]


def _queue(raw: Mapping[str, Any]) -> QueueSpec:
    return QueueSpec(raw["name"], raw["partitions"], tuple(raw.get("subjects", ())))


def _allow_rule(raw: Mapping[str, Any], breaker: Mapping[str, Any] | None) -> AllowRule:
    cidrs = tuple(raw.get("cidrs", ()))
    own = _breaker(raw.get("breaker", breaker))
    return AllowRule(
        raw["name"],
        raw["url"],
        cidrs,
        raw.get("caBundle"),
        raw.get("clientCertSecretName"),
        _signing(raw.get("signing")),
        _auth(raw["auth"]) if "auth" in raw else None,
        suspend=raw["suspend"],
        breaker=own,
        limits=_limits(raw.get("limits")),
    )


def _auth(raw: Mapping[str, Any]) -> Auth:
    if "headers" in raw:
        return tuple(HeaderSecret(each["name"], each["secretName"], each["key"]) for each in raw["headers"])
    if (oauth2 := raw.get("oauth2")) is not None:
        return OAuth2(
            oauth2["tokenURL"],
            oauth2["secretName"],
            tuple(oauth2.get("scopes", ())),
            oauth2.get("audience"),
            ClientAuthentication(oauth2.get("clientAuthentication", "Basic")),
            tuple(oauth2.get("cidrs", ())),
            oauth2.get("caBundle"),
        )
    if (token := raw.get("serviceAccountToken")) is not None:
        return ServiceAccountToken(token["audience"], token.get("expirationSeconds", 3_600))
    return AwsSigV4(raw["awsSigV4"]["service"], raw["awsSigV4"]["region"])


def _signing(raw: Mapping[str, Any] | None) -> Signing | None:
    return None if raw is None else Signing(raw["secretName"], SigningScheme(raw.get("scheme", "v1")))


def _breaker(raw: Mapping[str, Any] | None) -> BreakerRule | None:
    if raw is None or not raw["enabled"]:
        return None
    share = raw.get("failureShare")
    return BreakerRule(
        raw["consecutiveFailures"],
        FailureShare(share["percent"], share["windowSeconds"], share["minimumAttempts"]) if share else None,
        raw["probeSeconds"],
        raw["maxProbeSeconds"],
        raw["maxHoldSeconds"],
    )


def _limits(raw: Mapping[str, Any] | None) -> LimitRule | None:
    if raw is None:
        return None
    return LimitRule(raw.get("ratePerSecond"), raw.get("burst"), raw.get("concurrency"), LimitScope(raw["per"]))


def _delivery(raw: Mapping[str, Any]) -> Delivery:
    return Delivery(raw["timeoutSeconds"], raw["concurrencyPerPod"], raw.get("maxAgeSeconds"))


def _retry(raw: Mapping[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        rungs=tuple(Rung(rung["name"], rung["delaySeconds"]) for rung in raw["rungs"]),
        ladders=tuple(
            Ladder(ladder["class"], ladder["retriesPerRung"], tuple(ladder["rungs"])) for ladder in raw["ladders"]
        ),
        outcomes=tuple(
            StatusRule(tuple(rule["statuses"]), Result(rule["result"]), rule["keep"])
            for rule in raw.get("outcomes", ())
        ),
        max_retry_after_seconds=raw["maxRetryAfterSeconds"],
        hold_exhausted=raw.get("onExhausted") == "Hold",
    )


def _producer(raw: Mapping[str, Any]) -> Producer:
    keys = tuple(raw.get("apiKeySha256", ()))
    subjects = tuple(raw.get("subjects", ()))
    return Producer(raw.get("namespace"), raw.get("serviceAccount"), keys, raw.get("ratePerSecond"), subjects)


def _redaction(raw: Mapping[str, Any]) -> Redaction:
    return Redaction(tuple(raw.get("content", ())), tuple(raw.get("headers", ())), raw.get("stored", False))


def _subject_group(raw: Mapping[str, Any] | None) -> SubjectGroup | None:
    return None if raw is None else SubjectGroup(raw["pattern"], raw["maxValues"])
