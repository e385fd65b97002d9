"""Redaction by declaration: the parts of a message that are never shown, by a route's `spec.redact`.

A message is attempted whole and, unless the route says otherwise, stored and replayed whole. What is shown of it (dead
letters, exports, logs), and what a text is searched in, has `REDACTED` in place of these parts; no digest, since one of a
short value can be guessed.
JSON pointers: RFC 6901; a token `*` also stands for every entry of an array and every value of an object.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_core import json_codec
from chaski_core.message.refused_headers import normalized

REDACTED = "REDACTED"
_ANY = "*"
# Characters of a value that is also redacted where a response repeats it; shorter ones are everywhere.
_SHORTEST_ECHO = 4
#: Characters of a secret that say something about it, at the end of a text that was cut within it.
SHORTEST_CUT = 8


@dataclass(frozen=True, slots=True)
class Redaction:
    """What to redact. Empty: nothing."""

    content: tuple[str, ...] = ()  # JSON pointers into `body.content`; "" is the whole content
    headers: tuple[str, ...] = ()  # names, in any case
    stored: bool = False  # of a route: what is stored has none of these parts; of a dead letter: it lacks some of them

    def __bool__(self) -> bool:
        return bool(self.content or self.headers)

    def as_text(self) -> str:
        """As `read_redaction` reads it; "" if it redacts nothing."""
        return json_codec.dumps([self.content, self.headers, self.stored]).decode() if self else ""


NOTHING = Redaction()


def read_redaction(text: str) -> Redaction:
    """The redaction of a stored text; of one that can't be read, everything."""
    if not text:
        return NOTHING
    try:
        content, headers, *rest = json_codec.loads(text.encode())
        return Redaction(tuple(map(str, content)), tuple(map(str, headers)), rest[:1] == [True])
    except (ValueError, TypeError):
        return Redaction(("",), (_ANY,))


def redacted_body(body: Mapping[str, Any], redaction: Redaction) -> tuple[dict[str, Any], list[str]]:
    """The body of an envelope as it is shown, and the texts that were redacted in it.

    Content that is a text is read as JSON; one that is not JSON, or is encoded, is redacted as a whole.
    """
    hidden: list[str] = []
    shown = dict(body)
    headers, names = body.get("headers"), {normalized(each) for each in redaction.headers}
    if names and isinstance(headers, dict):
        shown["headers"] = {
            name: _hide(value, hidden) if _ANY in names or normalized(name) in names else value
            for name, value in headers.items()
        }
    elif names and headers is not None:
        shown["headers"] = _hide(headers, hidden)
    if redaction.content and body.get("content") is not None:
        shown["content"] = _content(body, redaction.content, hidden)
    return shown, hidden


def without_echo(text: str, secret: str, instead: str = REDACTED) -> str:
    """A text with a secret replaced that it repeats, also where the text was cut within the secret."""
    text = text.replace(secret, instead)
    for size in range(min(len(secret) - 1, len(text)), SHORTEST_CUT - 1, -1):
        if text.endswith(secret[:size]):
            return text[:-size] + instead
    return text


def without_echoes(value: Any, hidden: Sequence[str]) -> Any:
    """A value with these texts replaced wherever they are repeated, such as the excerpt of a response."""
    if isinstance(value, str):
        for text in hidden:
            value = without_echo(value, text)
        return value
    if isinstance(value, dict):
        return {name: without_echoes(each, hidden) for name, each in value.items()}
    return [without_echoes(each, hidden) for each in value] if isinstance(value, list) else value


def _content(body: Mapping[str, Any], pointers: Sequence[str], hidden: list[str]) -> Any:
    content = body["content"]
    if not isinstance(content, str):
        return _at_pointers(content, pointers, hidden)
    if body.get("contentEncoding") is None and "" not in pointers:
        try:
            parsed = json_codec.loads(content.encode())
        except (ValueError, RecursionError):
            return _hide(content, hidden)
        if isinstance(parsed, dict | list):
            shown = _at_pointers(parsed, pointers, hidden)
            return content if shown == parsed and _has_unique_keys(content) else json_codec.dumps(shown).decode()
    return _hide(content, hidden)


def _has_unique_keys(content: str) -> bool:
    """Whether a JSON text has no value beside those that pointers lead to: of duplicate keys only the last one counts."""
    try:
        json_codec.loads_unique(content.encode())
    except json_codec.JsonError:
        return False
    return True


def _at_pointers(value: Any, pointers: Sequence[str], hidden: list[str]) -> Any:
    for pointer in pointers:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
        value = _at(value, tokens, hidden)
    return value


def _at(value: Any, tokens: Sequence[str], hidden: list[str]) -> Any:
    if not tokens:
        return _hide(value, hidden)
    token, rest = tokens[0], tokens[1:]
    if isinstance(value, dict):
        return {name: _at(each, rest, hidden) if token in (_ANY, name) else each for name, each in value.items()}
    if isinstance(value, list):
        return [_at(each, rest, hidden) if token in (_ANY, str(index)) else each for index, each in enumerate(value)]
    return value


def _hide(value: Any, hidden: list[str]) -> str:
    hidden += [text for text in _texts(value) if len(text) >= _SHORTEST_ECHO and text != REDACTED]
    hidden.sort(key=len, reverse=True)  # a text that contains another one is replaced first
    return REDACTED


def _texts(value: Any) -> Iterator[str]:
    """Texts and numbers in a value, as a response would repeat them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None and not isinstance(value, bool):
        yield json_codec.dumps(value).decode()
