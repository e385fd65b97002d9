"""When a request was signed: SQS refuses one that was signed more than 15 minutes off its own clock.

Signatures themselves are not checked. Sources: the sentences that SQS answers (aws/aws-sdk-go#487, aws/aws-sdk-php#642) and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from chaski_core.errors import BackendRejectedError

WINDOW = timedelta(minutes=15)
_FORMAT = "%Y%m%dT%H%M%SZ"
_SCOPE_DAY = re.compile(r"Credential=[^/,]+/(\d{8})/")


def check_signing_time(headers: Mapping[str, str], now_ms: int) -> None:
    """Refuses a signed request whose time is off; one that is not signed has none.

    Args:
        headers: of the request, asked for by names in any case.
        now_ms: epoch milliseconds.

    Raises:
        BackendRejectedError: InvalidSignature.
    """
    authorization = headers.get("Authorization", "")
    signed_at = _read(headers.get("X-Amz-Date", ""))
    if not authorization.startswith("AWS4-") or signed_at is None:
        return
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    if signed_at < now - WINDOW:
        raise _refused(
            f"Signature expired: {signed_at:{_FORMAT}} is now earlier than {now - WINDOW:{_FORMAT}} "
            f"({now:{_FORMAT}} - 15 min.)"
        )
    if signed_at > now + WINDOW:
        raise _refused(
            f"Signature not yet current: {signed_at:{_FORMAT}} is still later than {now + WINDOW:{_FORMAT}} "
            f"({now:{_FORMAT}} + 15 min.)"
        )
    scope = _SCOPE_DAY.search(authorization)
    if scope is not None and scope[1] != f"{signed_at:%Y%m%d}":
        raise _refused(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope[1]}' != '{signed_at:%Y%m%d}', from '{signed_at:{_FORMAT}}'."
        )


def _read(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _refused(sentence: str) -> BackendRejectedError:
    return BackendRejectedError("InvalidSignature", sentence)
