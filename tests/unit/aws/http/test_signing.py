"""Signatures equal those of botocore's signer."""

import datetime as dt

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from chaski_aws.http.endpoints import DYNAMODB, SQS, Endpoint, Service
from chaski_aws.http.signing import Signer

HEADERS = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessageBatch"}
KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
DAY = 86_400


def signed_by_botocore(endpoint: Endpoint, keys: ReadOnlyCredentials, body: bytes, now: float) -> dict[str, str]:
    """All headers of the same request by `SigV4Auth`."""
    request = AWSRequest("POST", endpoint.url, dict(HEADERS), body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: dt.datetime.fromtimestamp(now, dt.UTC))
        auth.SigV4Auth(keys, endpoint.service.name, endpoint.region).add_auth(request)
    return dict(request.headers.items())


@given(
    body=st.binary(max_size=200),
    now=st.integers(0, 4_000_000_000),
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    service=st.sampled_from([SQS, DYNAMODB]),
    host=st.sampled_from(
        ["https://sqs.eu-central-1.amazonaws.com", "http://127.0.0.1:9324", "https://[::1]:8443/", "http://localstack"]
    ),
)
def test_signature_is_that_of_botocore(
    body: bytes, now: int, token: str | None, secret: str, service: Service, host: str
) -> None:
    """For any body, time, credentials, service and endpoint."""
    endpoint, keys = Endpoint(service, host, "eu-central-1"), ReadOnlyCredentials("AKID", secret, token)
    made = Signer(endpoint, keys, HEADERS).headers(body, now)
    assert "Host" not in made  # the client adds it
    assert made == signed_by_botocore(endpoint, keys, body, now)


def test_one_signer_signs_across_midnight() -> None:
    """The cached signing key is of one day only."""
    endpoint = Endpoint(SQS, "https://sqs.eu-west-1.amazonaws.com", "eu-west-1")
    signer = Signer(endpoint, KEYS, HEADERS)
    for now in (20_000 * DAY - 1, 20_000 * DAY, 20_000 * DAY - 1, 20_001 * DAY):
        expected = signed_by_botocore(endpoint, KEYS, b"{}", now)["Authorization"]
        assert signer.headers(b"{}", now)["Authorization"] == expected
