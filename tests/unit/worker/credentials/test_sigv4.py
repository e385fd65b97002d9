"""Signatures of AWS, compared with botocore's own and with those of the documentation."""

import datetime as dt

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.session import Session

from chaski_aws.http.credentials import CredentialChain
from chaski_core.route.model import AwsSigV4
from chaski_worker.credentials.sigv4 import SignedRequests, signed_headers
from chaski_worker.shortage.detection import ShortageError, ShortageReason
from unit.worker.credentials.attempts import RULE, attempt

NOW = 1_700_000_000
KEYS = ReadOnlyCredentials("AKID", "secret-of-the-key", "session-token")


@pytest.mark.parametrize("service", ["lambda", "execute-api", "s3"])
@pytest.mark.parametrize("body", [b"{}", b"", None], ids=repr)
@pytest.mark.parametrize("rest", ["", "1?b=2&a=1", "a%20b/c%2Bd?x=%C3%A4&x", "~a/b;c"])
def test_the_signature_is_botocores(
    monkeypatch: pytest.MonkeyPatch, service: str, body: bytes | None, rest: str
) -> None:
    """Its public signer on the same request, at the same time."""
    given = attempt(url=f"https://crm.example/in/{rest}", body=body)
    own = dict(signed_headers(given, AwsSigV4(service, "eu-central-1"), KEYS, NOW))
    monkeypatch.setattr(auth, "get_current_datetime", lambda **_: dt.datetime.fromtimestamp(NOW, dt.UTC))
    signer = (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)(KEYS, service, "eu-central-1")
    request = AWSRequest("POST", given.request.url, {"Host": "crm.example"}, body or b"")
    signer.add_auth(request)
    assert own == {name: value for name, value in request.headers.items() if name != "Host"}


async def test_the_pods_credentials_sign_and_the_target_gets_no_key() -> None:
    """By botocore's default chain; the session token is a part of the protocol."""
    session = Session()
    session.set_credentials(KEYS.access_key, KEYS.secret_key, KEYS.token)
    source = SignedRequests(RULE, AwsSigV4("lambda", "eu-central-1"), CredentialChain(lambda: session), lambda: NOW)
    credential = await source.credential(attempt())
    assert dict(credential.headers)["X-Amz-Security-Token"] == "session-token"
    assert "secret-of-the-key" not in str(credential.headers)
    assert "secret-of-the-key" in credential.secrets
    assert not await source.renew(credential)
    await source.close()


async def test_without_credentials_the_messages_wait() -> None:
    """A shortage of the rule, and no attempt."""

    class Nothing(Session):
        def get_credentials(self) -> Credentials | None:  # type: ignore[override]
            return None

    source = SignedRequests(RULE, AwsSigV4("lambda", "eu-central-1"), CredentialChain(Nothing), lambda: NOW)
    with pytest.raises(ShortageError) as raised:
        await source.credential(attempt())
    assert (raised.value.shortage.reason, raised.value.shortage.target) == (ShortageReason.CREDENTIALS, "crm")
    await source.close()
