"""One message out of the flags of `chaski send`. Pure."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from chaski_cli.errors import wrong_input
from chaski_core import json_codec


@dataclass(frozen=True, slots=True)
class Flags:
    """What was given on the command line; None and empty mean not given."""

    subject: str | None
    url: str | None
    method: str | None
    headers: Sequence[str]  # "Name: value"
    content: str | None
    content_json: str | None
    content_bytes: bytes | None
    id: str | None

    @property
    def any_given(self) -> bool:
        """Whether any of them was given."""
        return any(value is not None and value != [] for value in astuple(self))


def message(flags: Flags) -> dict[str, Any]:
    """The message that the flags describe.

    Raises:
        CommandError: a flag is missing, contradicts another or can't be read.
    """
    if not flags.subject or not flags.url:
        missing = "--subject" if not flags.subject else "--url"
        raise wrong_input(f"{missing} is missing", "give --subject and --url, or a file of messages, or - for stdin")
    body: dict[str, Any] = {"url": flags.url}
    if flags.method:
        body["method"] = flags.method
    if flags.headers:
        body["headers"] = headers_of(flags.headers, "--header")
    body.update(_content(flags))
    made: dict[str, Any] = {"subject": flags.subject, "body": body}
    if flags.id is not None:
        made["id"] = flags.id
    return made


def headers_of(texts: Iterable[str], flag: str) -> dict[str, str]:
    """Headers out of "Name: value" texts.

    Raises:
        CommandError: a text is none.
    """
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise wrong_input(f'{flag}: "{text}" has no name and value', f"write it like {flag} 'X-Tenant: acme'")
        headers[name.strip()] = value.strip()
    return headers


def _content(flags: Flags) -> dict[str, Any]:
    given = [value for value in (flags.content, flags.content_json, flags.content_bytes) if value is not None]
    if len(given) > 1:
        raise wrong_input("the content is given more than once", "use one of --content, --json and --content-file")
    if flags.content is not None:
        return {"content": flags.content}
    if flags.content_json is not None:
        try:
            return {"content": json_codec.loads_unique(flags.content_json.encode())}
        except (json_codec.JsonError, UnicodeEncodeError) as error:
            raise wrong_input(f"--json: not JSON: {error}", "use --content for plain text") from error
    if flags.content_bytes is not None:
        try:
            return {"content": flags.content_bytes.decode()}
        except UnicodeDecodeError:
            return {"content": base64.b64encode(flags.content_bytes).decode(), "contentEncoding": "base64"}
    return {}
