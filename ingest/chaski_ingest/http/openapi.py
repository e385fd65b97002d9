"""The OpenAPI document of the HTTP API: served at `/openapi.json`, and kept as `docs/openapi.json`.

python -m chaski_ingest.http.openapi > docs/openapi.json
"""

import functools
import sys
from typing import Any

import orjson

from chaski_core import __version__
from chaski_core.message.http_rules import MAX_HEADERS, METHODS
from chaski_core.message.subject import MAX_SUBJECT_CHARACTERS
from chaski_core.message.target_url import MAX_URL_CHARACTERS
from chaski_ingest.http.request import JSON, NDJSON
from chaski_ingest.problems import CONTENT_TYPE
from chaski_ingest.submission.submission import MAX_KEY_CHARACTERS

PATH = "/openapi.json"

Document = dict[str, Any]

_LABEL = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_TEXT: Document = {"type": "string"}
_INTEGER: Document = {"type": "integer"}
_RETRY = {"Retry-After": {"description": "Seconds to wait before the next try.", "schema": _INTEGER}}
_CHALLENGE = {"WWW-Authenticate": {"required": True, "description": "`Bearer`.", "schema": _TEXT}}
_PROBLEMS: dict[str, tuple[str, Document]] = {
    "400": ("The request or the message is not valid; `errors` lists every error.", {}),
    "401": ("Credentials are missing or not valid.", _CHALLENGE),
    "403": ("The producer is not listed in the route, or may not send this subject; `detail` gives the reason.", {}),
    "404": ("The route does not exist.", {}),
    "408": ("The body did not arrive in time.", {}),
    "413": ("The message, the body or the number of lines is above its limit.", {}),
    "415": ("The type, charset or encoding of the body is not supported.", {}),
    "417": ("The request has an expectation other than 100-continue.", {}),
    "429": ("The route's ingest is suspended, or the producer has exceeded its rate limit.", _RETRY),
    "500": ("An unexpected internal error; it is logged.", {}),
    "503": (
        "The queue is unavailable, a limit is reached, tokens can't be checked, or this server is shutting down.",
        _RETRY,
    ),
}


@functools.cache
def document_bytes() -> bytes:
    """The document as JSON."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2) + b"\n"


def document() -> Document:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Chaski ingest",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Accepts messages for routes. It answers 202 only after the queue has stored the message durably.",
        },
        "security": [{"bearer": []}],
        "paths": {
            "/v1/routes/{namespace}/{name}/messages": {"parameters": _parameters(), "post": _single()},
            "/v1/routes/{namespace}/{name}/messages:batch": {"parameters": _parameters(), "post": _batch()},
        },
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A ServiceAccount's token for the audience `chaski`, or an API key.",
                }
            },
            "schemas": {"Message": _message(), "Accepted": _accepted(), "Problem": _problem()},
        },
    }


def _parameters() -> list[Document]:
    names = [("namespace", 63, "The route's namespace."), ("name", 40, "The route's name.")]
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": {"type": "string", "minLength": 1, "maxLength": longest, "pattern": _LABEL},
        }
        for name, longest, description in names
    ]
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Deduplicates repeats of a message without `id` within five minutes.",
        "schema": {"type": "string", "pattern": f"^[!-~]([ -~]{{0,{MAX_KEY_CHARACTERS - 2}}}[!-~])?$"},
    }
    trace = {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context; an invalid value is ignored.",
        "schema": _TEXT,
    }
    return [*path, key, trace]


def _single() -> Document:
    body = {"required": True, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Message"}}}}
    taken = {
        "description": "The queue has stored the message durably.",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Accepted"}}},
    }
    return {
        "operationId": "sendMessage",
        "summary": "Send one message",
        "requestBody": body,
        "responses": {"202": taken, **_failures()},
    }


def _batch() -> Document:
    lines = (
        "One `Message` per line. A line is accepted only if every earlier line of its subject was;"
        " a line whose subject can't be read blocks all later ones."
    )
    results = (
        'One result for each line, in their order: `{"line", "status": 202, ...}` with the fields of `Accepted`, or'
        ' `{"line", "status", "title", "detail", "errors"}`.'
    )
    return {
        "operationId": "sendMessages",
        "summary": "Send many messages",
        "requestBody": {"required": True, "description": lines, "content": {NDJSON: {"schema": _TEXT}}},
        "responses": {"200": {"description": results, "content": {NDJSON: {"schema": _TEXT}}}, **_failures()},
    }


def _failures() -> Document:
    content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": description, "content": content, **({"headers": headers} if headers else {})}
        for status, (description, headers) in _PROBLEMS.items()
    }


def _message() -> Document:
    body = {
        "type": "object",
        "required": ["url"],
        "description": "The request to make.",
        "properties": {
            "url": {
                "type": "string",
                "minLength": 8,
                "maxLength": MAX_URL_CHARACTERS,
                "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://",
            },
            "method": {"enum": [*sorted(METHODS), None], "default": "POST"},
            "headers": {
                "type": ["object", "null"],
                "maxProperties": MAX_HEADERS,
                "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"},
                "additionalProperties": {"type": "string", "pattern": "^[\\t -~]*$"},
                "description": "Headers that belong to the connection, or that Chaski sets, are refused.",
            },
            "content": {"description": "A string is sent as UTF-8, null as no body, any other value as JSON."},
            "contentEncoding": {
                "enum": ["base64", None],
                "description": "`content` is the base64 of the bytes to send.",
            },
        },
    }
    return {
        "type": "object",
        "required": ["subject", "body"],
        "properties": {
            "subject": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_SUBJECT_CHARACTERS,
                "description": "Messages of one subject are delivered in order.",
            },
            "body": body,
            "id": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            "metadata": {"not": {}, "description": "Set by Chaski; leave it out."},
        },
    }


def _accepted() -> Document:
    properties = {
        "id": {"type": "string", "description": "The message's label: its own `id`, or a generated one."},
        "messageId": {
            "type": "string",
            "description": "The message's identity, which targets receive as `Chaski-Message-Id`. A repeat gets the identity of the first request.",
        },
        "subject": _TEXT,
        "queue": _TEXT,
        "partition": {"type": "integer", "minimum": 0},
    }
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _problem() -> Document:
    error = {
        "type": "object",
        "required": ["field", "message"],
        "properties": {"field": _TEXT, "message": _TEXT},
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "pattern": "^urn:chaski:problem:[a-z-]+$"},
            "title": _TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _TEXT,
            "errors": {"type": "array", "minItems": 1, "items": error},
        },
        "additionalProperties": False,
    }


if __name__ == "__main__":
    sys.stdout.write(document_bytes().decode())
