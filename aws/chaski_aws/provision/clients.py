"""Calls of AWS's API by boto3, with one sort of errors."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from botocore.session import Session

from chaski_aws.endpoints import open_session
from chaski_aws.provision.errors import Problem, ProvisionError, code_of, problem_of

_CONFIG = Config(
    connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 4, "mode": "standard"}, max_pool_connections=16
)
_NAMES = ("QueueName", "TableName", "QueueUrl", "ResourceArn", "QueueNamePrefix")


class Aws(Protocol):
    """Makes one call."""

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """The answer to an operation such as `CreateQueue` of `sqs` or `dynamodb`. Raises `ProvisionError`."""
        ...


class BotoAws:
    """Implements `Aws`; threads may share it."""

    def __init__(
        self,
        open_session: Callable[[], Session] = open_session,
        endpoints: Mapping[str, str | None] | None = None,
    ) -> None:
        """Reads the AWS configuration; makes no request.

        Args:
            open_session: where configuration and credentials come from.
            endpoints: URLs by service, in place of those that the configuration says.

        Raises:
            ProvisionError: for example no region is set.
        """
        try:
            session = boto3.Session(botocore_session=open_session())
            where = endpoints or {}
            self._clients: Mapping[str, Any] = {
                "sqs": session.client("sqs", config=_CONFIG, endpoint_url=where.get("sqs")),
                "dynamodb": session.client("dynamodb", config=_CONFIG, endpoint_url=where.get("dynamodb")),
            }
        except (BotoCoreError, ValueError) as error:  # ValueError: botocore's word for an endpoint that is no URL
            raise _unconfigured(error) from error

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """As `Aws.call`; tries again by itself for seconds where that can help."""
        client = self._clients[service]
        try:
            answer: Mapping[str, Any] = getattr(client, _method(operation))(**request)
        except ClientError as error:
            told = error.response.get("Error", {})
            spelt = str(error.response.get("Error", {}).get("QueryErrorCode") or told.get("Code", ""))
            code = code_of(service, spelt)
            raise ProvisionError(
                problem_of(service, operation, resource_of(request), code, str(told.get("Message", "")))
            ) from error
        except BotoCoreError as error:
            code = "NoCredentials" if isinstance(error, NoCredentialsError) else "Unreachable"
            raise ProvisionError(problem_of(service, operation, resource_of(request), code, str(error))) from error
        return answer


def resource_of(request: Mapping[str, Any]) -> str:
    """Name of the queue or table that a request is about."""
    named = next((str(request[name]) for name in _NAMES if name in request), "")
    return named.rpartition("/")[2]


def _method(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _unconfigured(error: Exception) -> ProvisionError:
    fix = "set AWS_DEFAULT_REGION" if isinstance(error, NoRegionError) else "mend the AWS configuration"
    return ProvisionError(Problem("aws", "Configuration", "", "Configuration", str(error), None, fix))
