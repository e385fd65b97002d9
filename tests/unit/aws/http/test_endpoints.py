"""Endpoints of services, resolved as by every AWS SDK."""

import threading
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest

from chaski_aws.http.endpoints import DYNAMODB, SQS, Endpoint, Service, open_session, resolve_endpoints, sqs_code
from chaski_core.errors import BackendRejectedError

GOVCLOUD = {"AWS_DEFAULT_REGION": "us-gov-west-1"}


async def resolved(service: Service) -> Endpoint:
    """The endpoint of one service."""
    return (await resolve_endpoints(service))[service]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without AWS settings of the machine."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.parametrize(
    ("service", "settings", "url"),
    [
        (SQS, {}, "https://sqs.eu-central-1.amazonaws.com"),
        (DYNAMODB, {}, "https://dynamodb.eu-central-1.amazonaws.com"),
        (SQS, {"AWS_DEFAULT_REGION": "cn-north-1"}, "https://sqs.cn-north-1.amazonaws.com.cn"),
        (SQS, {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9324"}, "http://127.0.0.1:9324"),
        (DYNAMODB, {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9324"}, "https://dynamodb.eu-central-1.amazonaws.com"),
        (DYNAMODB, {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        (SQS, {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, "http://127.0.0.1:4566"),
        (
            SQS,
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_DEFAULT_REGION": "us-east-1"},
            "https://sqs-fips.us-east-1.amazonaws.com",
        ),
        (DYNAMODB, GOVCLOUD | {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb.us-gov-west-1.amazonaws.com"),
        (SQS, GOVCLOUD | {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://sqs.us-gov-west-1.amazonaws.com"),
        (SQS, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://sqs.eu-central-1.api.aws"),
        (DYNAMODB, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://dynamodb.eu-central-1.api.aws"),
        (DYNAMODB, {"AWS_ENDPOINT_URL": "http://[fd00::1]:4566/aws"}, "http://[fd00::1]:4566"),
    ],
)
async def test_endpoint_follows_the_environment(
    environment: pytest.MonkeyPatch, service: Service, settings: dict[str, str], url: str
) -> None:
    """The settings that every AWS SDK reads."""
    for name, value in {"AWS_DEFAULT_REGION": "eu-central-1", **settings}.items():
        environment.setenv(name, value)
    endpoint = await resolved(service)
    assert endpoint.url == url
    assert endpoint.region == settings.get("AWS_DEFAULT_REGION", "eu-central-1")
    assert endpoint.service is service


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "us-gov-west-1", "cn-north-1"])
@pytest.mark.parametrize(("fips", "dual_stack"), [("false", "true"), ("true", "false"), ("true", "true")])
async def test_endpoint_is_the_one_that_botocore_sends_to(
    environment: pytest.MonkeyPatch, region: str, fips: str, dual_stack: str
) -> None:
    """The operator makes queues by botocore, so its workers must use the same hosts."""
    environment.setenv("AWS_DEFAULT_REGION", region)
    environment.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    environment.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    for service in (SQS, DYNAMODB):
        client = open_session().create_client(service.name, aws_access_key_id="-", aws_secret_access_key="-")
        client.meta.events.register("before-send", _raise_url)
        with pytest.raises(_SentError) as sent:
            getattr(client, service.any_operation)()
        assert f"{(await resolved(service)).url}/" == str(sent.value)


class _SentError(Exception):
    """A request would be sent; the message is its URL."""


def _raise_url(request: AWSPreparedRequest, **_: object) -> None:
    raise _SentError(request.url)


async def test_endpoint_follows_the_profile(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Region and endpoint of the profile that `AWS_PROFILE` names."""
    (tmp_path / "config").write_text("[profile there]\nregion = eu-west-3\nendpoint_url = http://127.0.0.1:1\n")
    environment.setenv("AWS_PROFILE", "there")
    endpoint = await resolved(SQS)
    assert (endpoint.url, endpoint.region) == ("http://127.0.0.1:1", "eu-west-3")


async def test_proxy_and_authorities_follow_the_environment(environment: pytest.MonkeyPatch) -> None:
    """As in botocore."""
    environment.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    environment.setenv("AWS_CA_BUNDLE", "/etc/bundle.pem")
    endpoint = await resolved(SQS)
    assert (endpoint.proxy, endpoint.ca_bundle) == ("http://127.0.0.1:3128", "/etc/bundle.pem")
    environment.setenv("NO_PROXY", ".amazonaws.com")
    assert (await resolved(SQS)).proxy is None


@pytest.mark.parametrize(
    "settings",
    [{}, {"AWS_DEFAULT_REGION": "no such region"}, {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_PROFILE": "nobody"}],
    ids=["no region", "bad region", "no profile"],
)
async def test_an_unresolvable_endpoint_is_an_error(environment: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    """One type of error, with botocore's message."""
    for name, value in settings.items():
        environment.setenv(name, value)
    with pytest.raises(BackendRejectedError) as refused:
        await resolved(SQS)
    assert refused.value.code == "Configuration"
    assert refused.value.reason.startswith("sqs: ")


async def test_one_session_resolves_all_services_in_a_thread(environment: pytest.MonkeyPatch) -> None:
    """Files and models are read beside the loop; the list of all regions, 1.2 MB, once and not for each service."""
    environment.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    threads: list[int] = []

    def noted() -> object:
        threads.append(threading.get_ident())
        return open_session()

    endpoints = await resolve_endpoints(SQS, DYNAMODB, open_session=noted)  # type: ignore[arg-type]  # a session
    assert endpoints == {SQS: await resolved(SQS), DYNAMODB: await resolved(DYNAMODB)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_sts_is_called_in_its_region() -> None:
    """The global endpoint is a single point of failure for all regions."""
    assert open_session().get_config_variable("sts_regional_endpoints") == "regional"


@pytest.mark.parametrize(
    ("spelt", "code"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
        ("QueueAlreadyExists", "QueueNameExists"),
        ("InvalidParameterValueException", "InvalidParameterValue"),
        ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
    ],
)
def test_sqs_codes_have_one_spelling(spelt: str, code: str) -> None:
    """That of the JSON protocol, without the suffix."""
    assert sqs_code(spelt) == code
