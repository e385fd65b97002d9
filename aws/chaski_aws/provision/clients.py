"""Calls of AWS's API by boto3; every error is a `ProvisionError`.

Not by `chaski_aws.http`, which is for messages. These calls are few, so their CPU time does not matter; boto3 checks parameters
by the service's model and knows which errors of which operation may be retried; and steps that wait for each other read
better without `await`. Memory would not be saved: `chaski_aws.http` resolves endpoints by the same clients of botocore.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import boto3
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from botocore.session import Session

from chaski_aws.http.credentials import expire_by
from chaski_aws.http.endpoints import DYNAMODB, SQS, Endpoint, open_session
from chaski_aws.http.signing import Signer
from chaski_aws.provision.errors import ProvisionError, ProvisionFailure, code_of, failure_of
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock

_CONFIG = Config(
    connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 4, "mode": "standard"}, max_pool_connections=16
)
_SKEWED_SECONDS = 60.0  # AWS tolerates 5 minutes or more: botocore's own signature, by this machine's clock, will do
_SKEW = frozenset(
    {"InvalidSignature", "RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)
_ADDED_BY_SIGNING = frozenset({"authorization", "x-amz-date", "x-amz-security-token"})
_NOT_SIGNED = frozenset({"host", "user-agent", "content-length", "expect", "x-amzn-trace-id"})
_SERVICES = {each.name: each for each in (SQS, DYNAMODB)}
_MAX_REASON = 4_096  # characters: a proxy in front of AWS may answer with a page
_NAMES = ("QueueName", "TableName", "QueueUrl", "ResourceArn", "QueueNamePrefix")


class Aws(Protocol):
    """Makes one call."""

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """The response to an operation such as `CreateQueue` of `sqs` or `dynamodb`. Raises `ProvisionError`."""
        ...


class BotoAws:
    """Implements `Aws`; threads may share it."""

    def __init__(
        self,
        open_session: Callable[[], Session] = open_session,
        endpoints: Mapping[str, str | None] | None = None,
        clock: CorrectedClock | None = None,
        admit: Callable[[], None] | None = None,
    ) -> None:
        """Reads the AWS configuration; makes no request.

        Args:
            open_session: where configuration and credentials come from.
            endpoints: URLs by service, in place of the configured ones.
            clock: dates the signatures where this machine's clock is wrong; corrected by every response. None: a new one.
            admit: called immediately before each attempt of a call is sent; what it raises ends the call.

        Raises:
            ProvisionError: for example no region is set.
        """
        self._clock = clock or CorrectedClock(SystemClock())
        try:
            self._session = open_session()
            session = boto3.Session(botocore_session=self._session)
            where = endpoints or {}
            self._clients: Mapping[str, Any] = {
                "sqs": session.client("sqs", config=_CONFIG, endpoint_url=where.get("sqs")),
                "dynamodb": session.client("dynamodb", config=_CONFIG, endpoint_url=where.get("dynamodb")),
            }
        except (BotoCoreError, ValueError) as error:  # ValueError: botocore's error for an endpoint that is not a URL
            raise _unconfigured(error) from error
        expire_by(self._session.get_credentials(), self._clock.seconds)
        for name, client in self._clients.items():
            client.meta.events.register(f"before-send.{name}", self._sign_again)
            if admit is not None:
                client.meta.events.register(f"before-send.{name}", lambda **_event: admit())

    @property
    def clock(self) -> CorrectedClock:
        """The time by AWS's responses, to compare AWS's timestamps with."""
        return self._clock

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Implements `Aws.call`; retries temporary errors for some seconds."""
        signed_at = self._clock.seconds()
        try:
            return self._call(service, operation, request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "")).removesuffix("Exception")
            if code not in _SKEW or abs(self._clock.seconds() - signed_at) <= _SKEWED_SECONDS:
                raise _refused(service, operation, request, error) from error
        except BotoCoreError as error:
            raise _failed(service, operation, request, error) from error
        try:
            return self._call(service, operation, request)
        except ClientError as error:
            raise _refused(service, operation, request, error) from error
        except BotoCoreError as error:
            raise _failed(service, operation, request, error) from error

    def _call(self, service: str, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        sent = self._clock.monotonic()
        try:
            response: Mapping[str, Any] = getattr(self._clients[service], _method(operation))(**request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "")).removesuffix("Exception")
            self._observe_date(error.response, sent, decisive=code in _SKEW)
            raise
        self._observe_date(response, sent, decisive=False)
        return response

    def _observe_date(self, response: Mapping[str, Any], sent: float, *, decisive: bool) -> None:
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self._clock.observe(headers.get("date", ""), sent, decisive=decisive)

    def _sign_again(self, request: AWSPreparedRequest, **_event: object) -> None:
        """Replaces botocore's signature where the clock behind it is wrong; requests are POSTs of JSON to the root."""
        credentials = self._session.get_credentials()
        if abs(self._clock.offset_seconds() or 0.0) <= _SKEWED_SECONDS or credentials is None:
            return
        texts = {str(name): _text(value) for name, value in request.headers.items()}
        kept = {name: value for name, value in texts.items() if name.lower() not in _ADDED_BY_SIGNING | _NOT_SIGNED}
        scope = texts["Authorization"].partition("Credential=")[2].split("/")  # KEY/date/region/service/aws4_request
        endpoint = Endpoint(_SERVICES[scope[3]], request.url, scope[2])
        signer = Signer(endpoint, credentials.get_frozen_credentials(), kept)
        body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
        for name, value in signer.headers(body, self._clock.seconds()).items():
            request.headers[name] = value


def _refused(service: str, operation: str, request: Mapping[str, Any], error: ClientError) -> ProvisionError:
    details: Mapping[str, Any] = error.response.get("Error", {})
    code = code_of(service, str(details.get("QueryErrorCode") or details.get("Code", "")))
    return ProvisionError(
        failure_of(service, operation, resource_of(request), code, str(details.get("Message", ""))[:_MAX_REASON])
    )


def _failed(service: str, operation: str, request: Mapping[str, Any], error: BotoCoreError) -> ProvisionError:
    code = "NoCredentials" if isinstance(error, NoCredentialsError) else "Unreachable"
    return ProvisionError(failure_of(service, operation, resource_of(request), code, str(error)))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def resource_of(request: Mapping[str, Any]) -> str:
    """Name of the queue or table of a request."""
    named = next((str(request[name]) for name in _NAMES if name in request), "")
    return named.rpartition("/")[2]


def _method(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _unconfigured(error: Exception) -> ProvisionError:
    fix = "set AWS_DEFAULT_REGION" if isinstance(error, NoRegionError) else "fix the AWS configuration"
    return ProvisionError(ProvisionFailure("aws", "Configuration", "", "Configuration", str(error), None, fix))
