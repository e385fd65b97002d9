"""How workers and replays reach AWS: what the operator passes on to them of its own environment. Never credentials.

The names are those of the AWS SDKs (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html) and the
proxies' of urllib, which botocore reads. Deliveries to targets never use a proxy, whatever the environment says.
"""

from collections.abc import Mapping
from pathlib import Path

from chaski_runtime.process.command_error import wrong_input

CA_BUNDLE = "AWS_CA_BUNDLE"
#: A ConfigMap holds 1 MiB (https://kubernetes.io/docs/concepts/configuration/configmap/), its metadata included.
MAX_CA_BUNDLE_BYTES = 1_000_000
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_PASSED_ON = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_STS",
    "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", *_REGION,
)  # fmt: skip
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")


def worker_environment(own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment of workers and replays.

    Args:
        own: the operator's.
        given: for workers; each variable replaces the operator's of the same meaning: `AWS_REGION` also its
            `AWS_DEFAULT_REGION`, and `HTTPS_PROXY` its `https_proxy`.
    """
    replaced = {_meaning(name) for name in given}
    withheld = withheld_proxies(own)
    passed_on = {
        name: own[name]
        for name in (*_PASSED_ON, *_PROXIES)
        if own.get(name) and name not in withheld and _meaning(name) not in replaced
    }
    made = passed_on | dict(given)
    region = next((made[name] for name in _REGION if made.get(name)), None)  # botocore reads only the second one
    return {name: region for name in _REGION if region} | made


def withheld_proxies(own: Mapping[str, str]) -> list[str]:
    """Variables of the operator whose proxy URL has a password: everybody who reads Pods in a route's namespace would see it."""
    return [name for name in _PROXIES if "@" in own.get(name, "")]


def read_ca_bundle(own: Mapping[str, str]) -> str | None:
    """The certificates of `AWS_CA_BUNDLE` in PEM; None without it.

    Raises:
        CommandError: the file can't be read, has no certificate, or is longer than `MAX_CA_BUNDLE_BYTES`.
    """
    file = own.get(CA_BUNDLE)
    if not file:
        return None
    try:
        content = Path(file).read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise wrong_input(f"{CA_BUNDLE} {file}: {reason}", "give a readable file of certificates in PEM") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise wrong_input(f"{CA_BUNDLE} {file}: it has no certificate", "give a file of certificates in PEM")
    if len(content) > MAX_CA_BUNDLE_BYTES:
        raise wrong_input(
            f"{CA_BUNDLE} {file}: {len(content)} bytes; workers get it in a ConfigMap, which holds {MAX_CA_BUNDLE_BYTES}",
            "give a file with only the authorities of the AWS endpoints",
        )
    return text


def _meaning(name: str) -> str:
    if name in _REGION:
        return "region"
    return name.upper() if name in _PROXIES else name
