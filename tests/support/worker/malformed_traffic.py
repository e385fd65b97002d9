"""Odd subjects and bodies, their expected results, and messages that may be on a queue already."""

import base64
from collections.abc import Iterator
from typing import Any

import orjson

LIMIT = 262_144
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "any", "retriesPerRung": 1, "rungs": ["fast"]}],
}
SUBJECTS = {
    "spaces": "an order of 17 May",
    "emoji": "🦙 chaski 🏃",
    "long": "x" * 500,
    "long-unicode": "ñ" * 512,
    "prototype": "constructor",
    "dunder": "__proto__",
    "newline": "two\nlines",
    "path": "../../etc/passwd",
}
BINARY = bytes(range(256))
CONTENTS: dict[str, tuple[dict[str, Any], bytes]] = {
    "empty": ({"content": ""}, b""),
    "none": ({}, b""),
    "null": ({"content": None}, b""),
    "zero": ({"content": 0}, b"0"),
    "false": ({"content": False}, b"false"),
    "list": ({"content": []}, b"[]"),
    "base64": ({"content": base64.b64encode(BINARY).decode(), "contentEncoding": "base64"}, BINARY),
    "controls": ({"content": "\x00\x01\x1f\ufffe\uffff"}, "\x00\x01\x1f\ufffe\uffff".encode()),
}


def answer(path: str, _message_id: str, _attempt: int) -> tuple[float, int]:
    """Responds with the status in the path."""
    return 0.0, int(path.rpartition("/")[2] or 200)


def odd_messages(url: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Id, the message as sent, and the body that the target must get: all subjects, all contents, the largest."""
    for name, subject in SUBJECTS.items():
        message = {"id": name, "subject": subject, "body": {"url": url, "content": subject}}
        yield name, orjson.dumps(message), subject.encode()
    for name, (fields, expected) in CONTENTS.items():
        yield name, orjson.dumps({"id": name, "subject": "bodies", "body": {"url": url, **fields}}), expected
    largest = sized(url, LIMIT)
    yield "large", largest, orjson.loads(largest)["body"]["content"].encode()


def sized(url: str, size: int) -> bytes:
    """A message of exactly `size` bytes of JSON."""
    message = {"id": "large", "subject": "s", "body": {"url": url, "content": ""}}
    message["body"]["content"] = "x" * (size - len(orjson.dumps(message)))  # type: ignore[index]
    return orjson.dumps(message)


def old_message(url: str, content: str) -> bytes:
    """A message in the predecessor's format: without metadata."""
    body = {"url": url, "content": content, "method": "PUT", "headers": {}}
    return orjson.dumps({"subject": "pc_send_88", "body": body})


def unknown_fields(url: str) -> dict[str, Any]:
    """A message with fields of all kinds that Chaski does not know."""
    return {
        "subject": "s",
        "body": {
            "url": f"{url}500",
            "content": {"n": 12345678901234567890123},
            "priority": [1, None, {"a": 0.1}],
        },
        "x-tenant": {"deep": [[], {}, "é\u2028\ufffe"], "big": 2**70},
        "": False,
    }
