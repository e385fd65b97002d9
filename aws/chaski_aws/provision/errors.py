"""What can go wrong with queues and tables: whether trying again helps, when, and what to do. Pure."""

from dataclasses import dataclass

from chaski_aws.http.endpoints import sqs_code
from chaski_core.errors import BackendError

_SOON, _LATER, _AFTER_HUMANS = 5.0, 30.0, 60.0
RECREATE_SECONDS = 61.0  # API_CreateQueue: a name is free again 60 seconds after its queue was deleted


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal."""

    service: str  # sqs | dynamodb
    operation: str  # CreateQueue
    resource: str  # name of the queue or table
    code: str  # the service's own word
    reason: str
    retry_after_seconds: float | None = None  # None: the same call would fail again
    fix: str = ""  # a sentence


class ProvisionError(BackendError):
    """A queue or table is not what it must be. What was done before stays done; a repetition goes on from there."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.service} {problem.operation} {problem.resource}: {problem.code}: {problem.reason}")
        self.problem = problem

    @property
    def retryable(self) -> bool:
        """Whether trying again can help without a change of the route."""
        return self.problem.retry_after_seconds is not None

    @property
    def retry_after_seconds(self) -> float | None:
        """How long to wait before that."""
        return self.problem.retry_after_seconds

    @property
    def code(self) -> str:
        """The service's own word."""
        return self.problem.code

    @property
    def fix(self) -> str:
        """What to do about it, in words."""
        return self.problem.fix


class NotOursError(ProvisionError):
    """Something of that name is there already and is not ours. It was not touched."""


def code_of(service: str, spelt: str) -> str:
    """One name for an error: SQS's without prefix and suffix, DynamoDB's as documented."""
    return sqs_code(spelt) if service == "sqs" else spelt


def problem_of(service: str, operation: str, resource: str, code: str, reason: str) -> Problem:
    """What an error code of AWS means for who makes queues and tables."""
    retry_after, fix = _meaning(service, operation, resource, code.removesuffix("Exception"))
    return Problem(service, operation, resource, code, reason, retry_after, fix)


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
        "nothing: AWS was asked too often, and is asked again later",
    ),
    _meaning_of(
        "QueueDeletedRecently",
        RECREATE_SECONDS,
        "nothing: a queue of this name was just deleted, and AWS gives it out again after 60 s",
    ),
    _meaning_of(
        "LimitExceeded",
        _LATER,
        "wait until other tables are made, or raise the account's quota of tables or of concurrent table operations",
    ),
    _meaning_of(
        "ResourceInUse TableNotActive ContinuousBackupsUnavailable", _SOON, "nothing: AWS is still at work on it"
    ),
    _meaning_of(
        "QueueDoesNotExist ResourceNotFound TableNotFound",
        _SOON,
        "nothing: it was deleted meanwhile, or is not seen everywhere yet; the next run looks again",
    ),
    _meaning_of(
        "ExpiredToken InvalidAccessKeyId InvalidClientTokenId InvalidSecurity MissingAuthenticationToken NoCredentials "
        "SignatureDoesNotMatch InvalidSignature UnrecognizedClient",
        _LATER,
        "give valid AWS credentials: environment, profile, IRSA or Pod Identity",
    ),
    _meaning_of(
        "InternalError InternalServerError InternalFailure ServiceUnavailable Unreachable",
        _SOON,
        "check that the endpoint can be reached from here; AWS is asked again later",
    ),
    _meaning_of(
        "QueueNameExists", _SOON, "nothing: somebody made or changed it at the same time; the next run looks again"
    ),
)


def _meaning(service: str, operation: str, resource: str, code: str) -> tuple[float | None, str]:
    if code in _DENIED:
        actions = [f"{service}:{operation}", *([_ALSO_TAGS[operation]] if operation in _ALSO_TAGS else [])]
        told = (
            f"allow {' and '.join(actions)} on {resource or '*'} in the IAM policy; docs/iam/provisioner.json has all"
        )
        return _AFTER_HUMANS, told
    found = next((each for each in _MEANINGS if code in each.codes), None)
    if found is None:
        return None, "compare the route and the settings with what AWS said"
    return found.retry_after_seconds, found.fix
