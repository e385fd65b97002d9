"""AWS services and their endpoints, resolved by botocore as in every AWS SDK.

`AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL`, the profile's `endpoint_url`, `AWS_REGION`,
`AWS_DEFAULT_REGION`, FIPS and dual-stack settings, `AWS_CA_BUNDLE`, `HTTPS_PROXY` and `NO_PROXY` all count:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from botocore.utils import get_environ_proxies

from chaski_core.errors import BackendRejectedError

SessionFactory = Callable[[], Session]
_STS_CONNECT_SECONDS = 5
_STS_READ_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Service:
    """An AWS service with the AWS JSON 1.0 protocol."""

    name: str  # botocore's, and the last part of AWS_ENDPOINT_URL_<NAME>
    target_prefix: str  # X-Amz-Target is `<prefix>.<action>`
    any_operation: str  # botocore's method of one without required arguments
    code_of: Callable[[str], str] = str  # maps the service's spelling of an error code to the one used here


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a service."""

    service: Service
    url: str  # scheme, host and port; requests go to its root
    region: str  # of signatures
    ca_bundle: str | None = None  # a file; None: the system's
    proxy: str | None = None  # URL of an HTTP proxy


_OLD_SQS = "AWS.SimpleQueueService."  # prefix of some codes in the former Query protocol
_SQS_CODES = {
    "NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
    "MissingRequiredParameter": "MissingParameter",
}


def sqs_code(code: str) -> str:
    """One code for an SQS error in the spelling of either protocol: `QueueDoesNotExist`, `AccessDenied`."""
    name = code.removeprefix(_OLD_SQS).removesuffix("Exception")
    return _SQS_CODES.get(name, name)


SQS = Service("sqs", "AmazonSQS", "list_queues", sqs_code)
DYNAMODB = Service(
    "dynamodb", "DynamoDB_20120810", "list_tables"
)  # codes as documented: ConditionalCheckFailedException


def open_session() -> Session:
    """A new botocore session that uses STS's regional endpoint (never the global one), with short timeouts."""
    session = Session()
    session.set_config_variable("sts_regional_endpoints", "regional")
    session.set_default_client_config(
        Config(
            connect_timeout=_STS_CONNECT_SECONDS,
            read_timeout=_STS_READ_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
        )
    )
    return session


def session_with_region(region: str | None) -> SessionFactory:
    """Opens sessions that use a region where the environment and the profile configure none."""

    def opened() -> Session:
        session = open_session()
        if region is not None and session.get_config_variable("region") is None:
            session.set_config_variable("region", region)
        return session

    return opened


async def resolve_endpoints(*services: Service, open_session: SessionFactory = open_session) -> dict[Service, Endpoint]:
    """The endpoint of each service. Reads files in a thread; makes no request.

    Args:
        services: without repetition.
        open_session: called once. botocore reads its list of all regions (1.2 MB of JSON) once for each session.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
    """
    return await asyncio.to_thread(_resolve_all, services, open_session)


def _resolve_all(services: Sequence[Service], open_session: SessionFactory) -> dict[Service, Endpoint]:
    session = open_session()
    endpoints = {}
    for service in services:
        try:
            endpoints[service] = _resolve(service, session)
        except (BotoCoreError, ValueError) as error:  # ValueError: botocore's error for an endpoint that is not a URL
            raise BackendRejectedError("Configuration", f"{service.name}: {error}") from error
    return endpoints


def _resolve(service: Service, session: Session) -> Endpoint:
    # Dummy keys: without them the client would load real ones now, which may make requests.
    client: Any = session.create_client(service.name, aws_access_key_id="-", aws_secret_access_key="-")  # noqa: S106 - not a secret
    # Not `client.meta.endpoint_url`: it ignores the endpoint rules by which requests are sent, and names FIPS hosts of DynamoDB
    # in GovCloud that do not exist. A presigned URL has the host of a request; making one sends none.
    signed = urlsplit(client.generate_presigned_url(service.any_operation))
    url = f"{signed.scheme}://{signed.netloc}"
    proxies = get_environ_proxies(url)
    return Endpoint(
        service=service,
        url=url,
        region=client.meta.region_name,
        ca_bundle=session.get_config_variable("ca_bundle"),
        proxy=proxies.get(url.partition("://")[0]),
    )
