"""When a request may have been signed: at most 15 minutes from the server's time."""

from datetime import UTC, datetime

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api.errors import error_answer
from chaski_embedded.sqs_api.signing_time import check_signing_time

NOW = datetime(2026, 11, 29, 0, 10, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def signed(at: str, day: str | None = None) -> dict[str, str]:
    """Headers of a request signed at that time."""
    scope = f"AKIA/{day or at[:8]}/us-east-1/sqs/aws4_request"
    return {
        "X-Amz-Date": at,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=00",
    }


@pytest.mark.parametrize("at", ["20261129T001000Z", "20261128T235500Z", "20261129T002500Z"])
def test_fifteen_minutes_are_allowed(at: str) -> None:
    """Either way, and over midnight."""
    check_signing_time(signed(at), NOW_MS)


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        pytest.param(
            signed("20261128T235459Z"),
            "Signature expired: 20261128T235459Z is now earlier than 20261128T235500Z (20261129T001000Z - 15 min.)",
            id="too old",
        ),
        pytest.param(
            signed("20261129T002501Z"),
            "Signature not yet current: 20261129T002501Z is still later than 20261129T002500Z "
            "(20261129T001000Z + 15 min.)",
            id="from the future",
        ),
        pytest.param(
            signed("20261129T001000Z", day="20261128"),
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            "'20261128' != '20261129', from '20261129T001000Z'.",
            id="another day in the scope",
        ),
    ],
)
def test_what_is_off_is_refused_in_the_words_of_aws(headers: dict[str, str], sentence: str) -> None:
    """With the code by which SDKs know that their clock is wrong."""
    with pytest.raises(BackendRejectedError) as caught:
        check_signing_time(headers, NOW_MS)
    assert (caught.value.code, caught.value.reason) == ("InvalidSignature", sentence)
    answer = error_answer(caught.value.code, caught.value.reason)
    assert answer.status == 403
    assert answer.body["__type"].endswith("#InvalidSignatureException")
    assert answer.headers["x-amzn-query-error"] == "SignatureDoesNotMatch;Sender"


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Amz-Date": "20200101T000000Z"}, {**signed("20200101T000000Z"), "X-Amz-Date": "soon"}],
    ids=["nothing", "not signed", "no time"],
)
def test_what_is_not_signed_has_no_time(headers: dict[str, str]) -> None:
    """There is no authentication here."""
    check_signing_time(headers, NOW_MS)
