"""Errors of provisioning: whether and when to retry, and how to fix the cause. Pure."""

from dataclasses import dataclass

from chaski_aws.http.endpoints import sqs_code
from chaski_core.errors import BackendError

_SOON, _LATER, _AFTER_FIX = 5.0, 30.0, 60.0  # seconds
RECREATE_SECONDS = 61.0  # API_CreateQueue: a name can be used again 60 seconds after its queue was deleted


@dataclass(frozen=True, slots=True)
class ProvisionFailure:
    """Why an operation failed."""

    service: str  # sqs | dynamodb
    operation: str  # CreateQueue
    resource: str  # name of the queue or table
    code: str  # as the service spells it
    reason: str
    retry_after_seconds: float | None = None  # None: the same call would fail again
    fix: str = ""  # for people, in words


class ProvisionError(BackendError):
    """The desired state was not reached. Changes made before stay; a repetition continues from them."""

    def __init__(self, failure: ProvisionFailure) -> None:
        super().__init__(f"{failure.service} {failure.operation} {failure.resource}: {failure.code}: {failure.reason}")
        self.failure = failure

    @property
    def retryable(self) -> bool:
        """Whether a retry can succeed without a change of the route."""
        return self.failure.retry_after_seconds is not None

    @property
    def retry_after_seconds(self) -> float | None:
        """Delay before a retry; None: do not retry."""
        return self.failure.retry_after_seconds

    @property
    def code(self) -> str:
        """The error code as the service spells it."""
        return self.failure.code

    @property
    def fix(self) -> str:
        """How to fix the cause, in words."""
        return self.failure.fix


class NotOursError(ProvisionError):
    """A resource of that name exists already and is not ours. It was not changed."""


def code_of(service: str, spelling: str) -> str:
    """One code for an error: SQS's without prefix and suffix, DynamoDB's as documented."""
    return sqs_code(spelling) if service == "sqs" else spelling


def failure_of(service: str, operation: str, resource: str, code: str, reason: str) -> ProvisionFailure:
    """The failure for an error code of AWS, with its retry delay and fix."""
    retry_after, fix = _meaning(service, operation, resource, code.removesuffix("Exception"))
    return ProvisionFailure(service, operation, resource, code, reason, retry_after, fix)


@dataclass(frozen=True, slots=True)
class _Meaning:
    codes: frozenset[str]
    retry_after_seconds: float
    fix: str


def _meaning_of(codes: str, retry_after_seconds: float, fix: str) -> _Meaning:
    return _Meaning(frozenset(codes.split()), retry_after_seconds, fix)


_DENIED = frozenset({"AccessDenied", "UnauthorizedOperation", "NotAuthorized", "KmsAccessDenied"})
_ALSO_TAGS = {"CreateQueue": "sqs:TagQueue", "CreateTable": "dynamodb:TagResource"}
_MEANINGS = (
    _meaning_of(
        "RequestThrottled Throttling ThrottledException ProvisionedThroughputExceeded RequestLimitExceeded "
        "TooManyRequests SlowDown",
        _SOON,
        "no action needed: throttled by AWS, will retry",
    ),
    _meaning_of(
        "QueueDeletedRecently",
        RECREATE_SECONDS,
        "no action needed: a queue of this name was just deleted; AWS allows the name again after 60 s",
    ),
    _meaning_of(
        "LimitExceeded",
        _LATER,
        "wait until other tables are created, or raise the account's quota of tables or of concurrent table operations",
    ),
    _meaning_of(
        "ResourceInUse TableNotActive ContinuousBackupsUnavailable",
        _SOON,
        "no action needed: AWS is still working on it, will retry",
    ),
    _meaning_of(
        "QueueDoesNotExist ResourceNotFound TableNotFound",
        _SOON,
        "no action needed: it was deleted meanwhile, or is not visible everywhere yet; will retry",
    ),
    _meaning_of(
        "ExpiredToken InvalidAccessKeyId InvalidClientTokenId InvalidSecurity MissingAuthenticationToken NoCredentials "
        "SignatureDoesNotMatch InvalidSignature UnrecognizedClient",
        _LATER,
        "provide valid AWS credentials: environment, profile, IRSA or Pod Identity",
    ),
    _meaning_of(
        "InternalError InternalServerError InternalFailure ServiceUnavailable Unreachable",
        _SOON,
        "check that the endpoint can be reached from here; will retry",
    ),
    _meaning_of(
        "QueueNameExists", _SOON, "no action needed: another process created or changed it at the same time; will retry"
    ),
)


def _meaning(service: str, operation: str, resource: str, code: str) -> tuple[float | None, str]:
    if code in _DENIED:
        actions = [f"{service}:{operation}", *([_ALSO_TAGS[operation]] if operation in _ALSO_TAGS else [])]
        fix = (
            f"allow {' and '.join(actions)} on {resource or '*'} in the IAM policy; "
            "docs/iam/provisioner.json lists all permissions"
        )
        return _AFTER_FIX, fix
    found = next((each for each in _MEANINGS if code in each.codes), None)
    if found is None:
        return None, "compare the route and the settings with AWS's message"
    return found.retry_after_seconds, found.fix
