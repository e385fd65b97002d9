"""The content of a message as a log line may show it, where the process was told to: cut, on one line, secrets struck out.

What names itself a secret is struck out: values of keys such as `password` or `apiKey`, in JSON, in forms and in text, and what
follows `Bearer`. Nobody can tell all secrets by their looks, and contents hold personal data by nature; so it is off unless
it is asked for.
"""

import re
from collections.abc import Mapping
from typing import Any

from chaski_core import json_codec
from chaski_worker.observability.redact import one_line

STRUCK_OUT = "[struck out]"
_BEYOND = 512  # characters read beyond what is shown, so that a secret is seen together with its name
_READ_AS_JSON = 65_536  # a longer string that looks like JSON is treated as text
_DEEPEST = 32
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


def shown_content(body: Mapping[str, Any], limit: int) -> str:
    """At most `limit` characters of a message's content; "" where it has none, or bytes."""
    content = body.get("content")
    if content is None or body.get("contentEncoding") is not None:
        return ""
    if isinstance(content, str):
        return one_line(_text(content, limit), limit)
    return one_line(json_codec.dumps(_struck(content, limit)).decode()[: 4 * limit], limit)


def _text(text: str, limit: int) -> str:
    if text.lstrip()[:1] in ("{", "[") and len(text) <= _READ_AS_JSON:
        try:
            return json_codec.dumps(_struck(json_codec.loads(text.encode()), limit)).decode()[: 4 * limit]
        except (ValueError, RecursionError):
            pass  # it only looks like JSON
    text = _PAIR.sub(rf"\1{STRUCK_OUT}", text[: limit + _BEYOND])
    return _BEARER.sub(rf"\1 {STRUCK_OUT}", text)


def _struck(value: Any, limit: int, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        return STRUCK_OUT
    if isinstance(value, Mapping):
        return {
            key: STRUCK_OUT if _SECRET.search(key) else _struck(each, limit, depth + 1) for key, each in value.items()
        }
    if isinstance(value, list):
        return [_struck(each, limit, depth + 1) for each in value]
    return _text(value, limit) if isinstance(value, str) else value
