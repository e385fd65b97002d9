"""The fence: a queue policy that denies SendMessage to everybody, so that an older generation only runs empty. Pure.

Other statements of a policy are somebody else's and are kept. AWS gives policies back re-serialised (spaces, the order of
keys, `"*"` as `{"AWS": "*"}`), so what counts is what they mean.
"""

import json
from collections.abc import Mapping
from typing import Any

FENCE_SID = "ChaskiFence"
_VERSION = "2012-10-17"
_EVERYBODY = ("*", {"AWS": "*"}, {"AWS": ["*"]})


def is_fenced(policy: str | None) -> bool:
    """Whether the policy holds the fence, in effect."""
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in _EVERYBODY
        and "sqs:sendmessage"
        in [action.lower() for action in _list(statement.get("Action")) if isinstance(action, str)]
        and not statement.get("Condition")
        for statement in _statements(policy)
        if statement.get("Sid") == FENCE_SID
    )


def holds_fence(policy: str | None) -> bool:
    """Whether the policy has a statement of that name at all, whole or not."""
    return any(statement.get("Sid") == FENCE_SID for statement in _statements(policy))


def fenced(policy: str | None, arn: str) -> str:
    """The policy with the fence."""
    statement = {
        "Sid": FENCE_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    return _text(policy, [*_others(policy), statement])


def unfenced(policy: str | None) -> str:
    """The policy without the fence; "" where nothing is left, which drops it."""
    others = _others(policy)
    return _text(policy, others) if others else ""


def _others(policy: str | None) -> list[Mapping[str, Any]]:
    return [statement for statement in _statements(policy) if statement.get("Sid") != FENCE_SID]


def _text(policy: str | None, statements: list[Mapping[str, Any]]) -> str:
    document = {**_document(policy), "Statement": statements}
    return json.dumps({"Version": _VERSION, **document})


def _statements(policy: str | None) -> list[Mapping[str, Any]]:
    return [each for each in _list(_document(policy).get("Statement")) if isinstance(each, dict)]


def _document(policy: str | None) -> Mapping[str, Any]:
    try:
        document = json.loads(policy) if policy else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
