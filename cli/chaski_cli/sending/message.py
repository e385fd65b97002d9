"""Sends one message that flags describe."""

import asyncio
import base64
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from chaski_cli.output import emit_result, stderr, stdout
from chaski_cli.sending.client import Destination, IngestClient, retry_printer
from chaski_core import json_codec
from chaski_core.message.identity import generate_label
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input


@dataclass(frozen=True, slots=True)
class MessageFlags:
    """The command's flags; None and empty mean not given."""

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
        return any(value is not None and value != [] for value in astuple(self))


def send_message(
    destination: Destination, flags: MessageFlags, idempotency_key: str | None, *, as_json: bool
) -> ExitCode:
    """Sends the message that the flags describe, with a new id unless it has an id or an idempotency key."""
    message = build_message(flags)
    if idempotency_key is None:
        message.setdefault("id", generate_label(time.time_ns() // 1_000_000, os.urandom(10)))
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}

    async def run() -> Mapping[str, Any]:
        async with aiohttp.ClientSession(headers=destination.headers) as http:
            client = IngestClient(http, destination, retry_printer(stderr()))
            return await client.send_one(json_codec.dumps(message), headers)

    try:
        accepted = asyncio.run(run())
    except KeyboardInterrupt:
        same = f"--id {message['id']}" if idempotency_key is None else f"--idempotency-key {idempotency_key}"
        raise CommandError(
            "stopped: it is unknown whether the message was accepted",
            next_step=f"send it again within five minutes with {same}: it is then deduplicated",
            exit_code=ExitCode.INTERRUPTED,
        ) from None
    if as_json:
        emit_result(accepted)
    else:
        place = f"queue {accepted['queue']}, partition {accepted['partition']}"
        stdout().print(f"accepted {accepted['id']} ({place})")
        stderr().print(f"show its attempts: chaski trace {accepted['id']}", style="dim")
    return ExitCode.OK


def build_message(flags: MessageFlags) -> dict[str, Any]:
    """The message that the flags describe.

    Raises:
        CommandError: a flag is missing, invalid, or contradicts another.
    """
    if not flags.subject or not flags.url:
        missing = "--subject" if not flags.subject else "--url"
        raise wrong_input(
            f"{missing} is missing", "give --subject and --url, or a file of messages, or - for standard input"
        )
    body: dict[str, Any] = {"url": flags.url}
    if flags.method:
        body["method"] = flags.method
    if flags.headers:
        body["headers"] = parse_headers(flags.headers, "--header")
    body.update(_content(flags))
    message: dict[str, Any] = {"subject": flags.subject, "body": body}
    if flags.id is not None:
        message["id"] = flags.id
    return message


def read_content(path: Path) -> bytes:
    """The bytes of `--content-file`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise wrong_input(f"--content-file {path}: {error.strerror}", "give a readable file") from error


def parse_headers(texts: Iterable[str], flag: str) -> dict[str, str]:
    """Parses "Name: value" texts.

    Raises:
        CommandError: a text is not of this form.
    """
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise wrong_input(f'{flag}: expected "Name: value", got "{text}"', f"for example: {flag} 'X-Tenant: acme'")
        headers[name.strip()] = value.strip()
    return headers


def _content(flags: MessageFlags) -> dict[str, Any]:
    given = [value for value in (flags.content, flags.content_json, flags.content_bytes) if value is not None]
    if len(given) > 1:
        raise wrong_input("content is given more than once", "give one of --content, --json and --content-file")
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
