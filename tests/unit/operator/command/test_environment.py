"""What the operator passes on of its environment, and the CA bundle that it hands to workers."""

from pathlib import Path

import pytest

from chaski_operator.command.environment import (
    MAX_CA_BUNDLE_BYTES,
    read_ca_bundle,
    withheld_proxies,
    worker_environment,
)
from chaski_runtime.process.command_error import CommandError, ExitCode

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
GOVCLOUD = {
    "AWS_REGION": "us-gov-west-1",
    "AWS_DEFAULT_REGION": "us-gov-west-1",
    "AWS_ENDPOINT_URL_STS": "https://sts.internal",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "HTTPS_PROXY": "http://proxy.internal:3128",
    "http_proxy": "http://proxy.internal:3128",
    "NO_PROXY": "169.254.169.254,.internal",
}


def test_workers_reach_aws_as_the_operator_does() -> None:
    """FIPS, dual-stack and proxies too; nothing else of its environment, and no credentials."""
    own = GOVCLOUD | {"AWS_SECRET_ACCESS_KEY": "s", "AWS_ROLE_ARN": "r", "AWS_CA_BUNDLE": "/own/file", "HOME": "/tmp"}
    assert worker_environment(own, {}) == GOVCLOUD


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "false"}, set()),
        ({"HTTPS_PROXY": "http://other"}, set()),
        ({"https_proxy": "http://other"}, {"HTTPS_PROXY"}),
        ({"HTTP_PROXY": ""}, {"http_proxy"}),
        ({"no_proxy": "*"}, {"NO_PROXY"}),
    ],
    ids=str,
)
def test_a_given_variable_replaces_the_operators(given: dict[str, str], gone: set[str]) -> None:
    """In either spelling: of two, urllib reads the one in small letters."""
    kept = {name: value for name, value in GOVCLOUD.items() if name not in gone}
    assert worker_environment(GOVCLOUD, given) == kept | given


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_given_region_is_the_only_one(name: str) -> None:
    """Some SDKs read one variable, some the other."""
    made = worker_environment(GOVCLOUD, {name: "us-gov-east-1"})
    assert (made["AWS_REGION"], made["AWS_DEFAULT_REGION"]) == ("us-gov-east-1", "us-gov-east-1")
    assert worker_environment({name: "eu-west-1"}, {}) == dict.fromkeys(
        ("AWS_REGION", "AWS_DEFAULT_REGION"), "eu-west-1"
    )


def test_a_proxy_with_a_password_is_not_passed_on() -> None:
    """Tenants can read the Pods of their routes."""
    own = GOVCLOUD | {"HTTPS_PROXY": "http://user:secret@proxy.internal:3128"}
    assert withheld_proxies(own) == ["HTTPS_PROXY"]
    assert "secret" not in str(worker_environment(own, {}))
    assert worker_environment(own, {"HTTPS_PROXY": own["HTTPS_PROXY"]})["HTTPS_PROXY"] == own["HTTPS_PROXY"]


def test_the_ca_bundle_is_read(tmp_path: Path) -> None:
    """None without the variable; an empty one counts as not set."""
    file = tmp_path / "ca.crt"
    file.write_text(CERTIFICATE)
    assert read_ca_bundle({"AWS_CA_BUNDLE": str(file)}) == CERTIFICATE
    assert read_ca_bundle({}) is None
    assert read_ca_bundle({"AWS_CA_BUNDLE": ""}) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "it is not text"),
        (b"-----BEGIN PRIVATE KEY-----", "it has no certificate"),
        (CERTIFICATE.encode() + b"#" * MAX_CA_BUNDLE_BYTES, "bytes; workers get it in a ConfigMap"),
    ],
)
def test_an_unusable_ca_bundle_is_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    """With the file and what to give."""
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError, match=rf"AWS_CA_BUNDLE {file}: .*{reason}") as refused:
        read_ca_bundle({"AWS_CA_BUNDLE": str(file)})
    assert refused.value.exit_code == ExitCode.WRONG_INPUT
