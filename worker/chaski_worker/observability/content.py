"""The content of a message for a log line, where the process is configured to log it: one line, cut, secrets redacted.

Values of keys such as `password` or `apiKey` are redacted, in JSON, in forms and in text, and so is the credential after
`Bearer`. Not every secret can be recognised, and contents hold personal data by nature; so it is off by default.
"""

import re
from collections.abc import Mapping
from typing import Any

from chaski_core import json_codec
from chaski_core.redaction import Redaction, redacted_body
from chaski_worker.delivery.outcomes import one_line

REDACTED = "[REDACTED]"
_LOOKAHEAD = 512  # characters read beyond the limit, so that a secret is seen together with its name
_MAX_JSON_CHARACTERS = 65_536  # a longer string is treated as text, even if it may be JSON
_MAX_DEPTH = 32
_NAMES = (
    r"(?:passw(?:or)?d|passphrase|secret|token|api[-_.]?key|private[-_.]?key|access[-_.]?key|credential|authori[sz]ation"
    r"|cookie|signature|cvv|cvc|iban|card[-_.]?number)"
)
_SECRET = re.compile(_NAMES, re.IGNORECASE)
_PAIR = re.compile(
    rf'((?<![\w.-])[\w.-]{{0,40}}{_NAMES}[\w.-]{{0,40}}\\?["\']?\s{{0,3}}[:=]\s{{0,3}}(?:(?:bearer|basic)\s{{1,3}})?)'
    r'(?:"(?:\\.|[^"\\])*"?|\'[^\']*\'?|[^\s&,;]+)',
    re.IGNORECASE | re.DOTALL,
)
_BEARER = re.compile(r"\b(bearer|basic)\s{1,3}[\w.~+/=-]{8,}", re.IGNORECASE)


def redacted_content(body: Mapping[str, Any], limit: int, redaction: Redaction) -> str:
    """At most `limit` characters of a message's content; "" where it has none, or binary content.

    What the route redacts is replaced first, then what resembles a secret.
    """
    if redaction.content:
        body, _ = redacted_body(body, redaction)
    content = body.get("content")
    if content is None or body.get("contentEncoding") is not None:
        return ""
    if isinstance(content, str):
        return one_line(_text(content, limit), limit)
    return one_line(json_codec.dumps(_redacted(content, limit)).decode()[: 4 * limit], limit)


def _text(text: str, limit: int) -> str:
    if text.lstrip()[:1] in ("{", "[") and len(text) <= _MAX_JSON_CHARACTERS:
        try:
            return json_codec.dumps(_redacted(json_codec.loads(text.encode()), limit)).decode()[: 4 * limit]
        except (ValueError, RecursionError):
            pass  # it is not JSON
    text = _PAIR.sub(rf"\1{REDACTED}", text[: limit + _LOOKAHEAD])
    return _BEARER.sub(rf"\1 {REDACTED}", text)


def _redacted(value: Any, limit: int, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        return {
            key: REDACTED if _SECRET.search(key) else _redacted(each, limit, depth + 1) for key, each in value.items()
        }
    if isinstance(value, list):
        return [_redacted(each, limit, depth + 1) for each in value]
    return _text(value, limit) if isinstance(value, str) else value
