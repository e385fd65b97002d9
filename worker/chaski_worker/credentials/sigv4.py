"""AWS Signature Version 4 of requests to targets, with the credentials of the worker's Pod, by botocore's signer.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import time
from collections.abc import Callable

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from chaski_aws.http.credentials import CredentialChain
from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import Clock
from chaski_core.route.model import AllowRule, AwsSigV4
from chaski_worker.credentials.source import Credential, unusable
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.guard.guard import Target

_TIME = "%Y%m%dT%H%M%SZ"


class SignedRequests:
    """The signatures of one rule's requests. Host, date and body are signed, so a signature is of no use for another host.

    Args:
        rule: whose requests are signed.
        settings: service and region.
        chain: has the credentials.
        seconds: epoch seconds, corrected by AWS's clock.
    """

    def __init__(
        self, rule: AllowRule, settings: AwsSigV4, chain: CredentialChain, seconds: Callable[[], float]
    ) -> None:
        self._rule = rule
        self._settings = settings
        self._chain = chain
        self._seconds = seconds

    async def credential(self, attempt: AttemptContext) -> Credential:
        try:
            credentials = await self._chain.current()
        except BackendUnavailableError as error:
            raise unusable(self._rule, str(error)) from error
        headers = signed_headers(attempt, self._settings, credentials, self._seconds())
        secrets = [value for name, value in headers if name in ("Authorization", "X-Amz-Security-Token")]
        return Credential(tuple(headers), (*secrets, str(credentials.secret_key)))

    async def renew(self, _: Credential) -> bool:
        """A signature is made for each request, so another one would not differ."""
        return False

    async def close(self) -> None:
        await self._chain.close()


def signed_requests(rule: AllowRule, settings: AwsSigV4, clock: Clock) -> SignedRequests:
    """The signatures of a rule's requests with the credentials of botocore's default chain."""

    def seconds() -> float:
        return clock.now_ms() / 1_000

    return SignedRequests(rule, settings, CredentialChain(seconds=seconds), seconds)


def signed_headers(
    attempt: AttemptContext, settings: AwsSigV4, credentials: ReadOnlyCredentials, seconds: float
) -> list[tuple[str, str]]:
    """The headers that sign an attempt's request at a time (epoch seconds).

    `SigV4Auth.add_auth` is not used, because it takes the time from this machine's clock, and logs what it signs.
    """
    assert isinstance(attempt.target, Target)  # noqa: S101 - a request that is refused gets no credentials
    timestamp = time.strftime(_TIME, time.gmtime(seconds))
    url, body = attempt.target.url, attempt.request.body or b""
    signer_class = S3SigV4Auth if settings.service == "s3" else SigV4Auth  # S3 does not normalize paths
    signer = signer_class(credentials, settings.service, settings.region)
    headers = {"Host": url.authority, "X-Amz-Date": timestamp}
    if credentials.token:
        headers["X-Amz-Security-Token"] = credentials.token
    request = AWSRequest(attempt.request.method.upper(), str(url), headers, body)
    request.context["timestamp"] = timestamp
    if settings.service == "s3":
        request.headers["X-Amz-Content-SHA256"] = headers["X-Amz-Content-SHA256"] = signer.payload(request)
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    signed = signer.signed_headers(signer.headers_to_sign(request))
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={signed}, Signature={signature}"
    )
    own = [(name, value) for name, value in headers.items() if name != "Host"]
    return [*own, ("Authorization", authorization)]
