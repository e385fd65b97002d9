"""An independent evaluator of IAM policies, `@cloud-copilot/iam-simulate`, which runs on Node.js.

It validates actions, resource types and condition keys by AWS's own lists. Installed once per content of its lock file, which has the hash of
each package, to a cache outside the checkout.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.tools import missing, requires

SOURCE = Path(__file__).resolve().parents[3] / "hack" / "aws-standins" / "iam-simulate"
_FILES = ("package.json", "package-lock.json", ".npmrc", "evaluate.mjs")
_INSTALL_SECONDS, _EVALUATE_SECONDS = 300, 200


@dataclass(frozen=True)
class Request:
    """A call that IAM decides about."""

    principal: str  # ARN of a role's session, or a service
    action: str  # sqs:SendMessage
    resource: str  # ARN, or *
    context: Mapping[str, str] = field(default_factory=dict)
    policies: Sequence[Mapping[str, Any]] = ()  # of the principal
    trust: Mapping[str, Any] | None = None  # of the resource


def allowed(requests: Sequence[Request]) -> list[bool]:
    """Whether IAM allows each request. AssertionError: the evaluator finds a policy or a request invalid."""
    verdicts = _run({"requests": [_document(each) for each in requests]})["verdicts"]
    assert not [each["errors"] for each in verdicts if "errors" in each]
    return [each["overall"] == "Allowed" for each in verdicts]


def trusted(requests: Sequence[Request]) -> list[bool]:
    """Whether the trust policy of a role alone allows each request, as it decides about sts:AssumeRoleWithWebIdentity."""
    verdicts = _run({"requests": [_document(each) for each in requests]})["verdicts"]
    assert not [each["errors"] for each in verdicts if "errors" in each]
    return [each["trust"] == "Allowed" for each in verdicts]


def action_details(actions: Sequence[str]) -> dict[str, Any]:
    """AWS's list: `{action: {types: {type: condition keys}, required, conditionKeys, wildcardOnly}}`."""
    details: dict[str, Any] = _run({"actions": list(actions)})["actions"]
    return details


def _document(request: Request) -> dict[str, Any]:
    document = {
        "principal": request.principal,
        "action": request.action,
        "resource": request.resource,
        "context": dict(request.context),
        "policies": list(request.policies),
    }
    return document if request.trust is None else document | {"trust": request.trust}


def _run(asked: Mapping[str, Any]) -> dict[str, Any]:
    ended = subprocess.run(
        ["node", str(_installed() / "evaluate.mjs")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=_EVALUATE_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def _installed() -> Path:
    requires("landing", "the evaluator of IAM policies")
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            missing(f"the evaluator of IAM policies needs {tool}")
    content = b"".join((SOURCE / name).read_bytes() for name in _FILES)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chaski"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"iam-simulate-{hashlib.sha256(content).hexdigest()[:16]}"
    with (cache / "iam-simulate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test processes install once
        if not folder.is_dir():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in _FILES:
        shutil.copy(SOURCE / name, partial)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    installed = subprocess.run(
        command, cwd=partial, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    if installed.returncode:
        missing(f"npm could not install the evaluator of IAM policies: {installed.stderr[-800:]}")
    partial.rename(folder)
