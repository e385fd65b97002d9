"""What a replay's Pods tell of it: how far they are, and why they ended. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_operator.pods.address import named_port, pod_host
from chaski_operator.replay.job import CONTAINER, PROGRESS_PORT_NAME, WRONG_INPUT

Report = Mapping[str, Any]  # as `chaski dead-letters replay --output json` has it
_REFUSALS = {"malformed": "Malformed", "noRoute": "NoRoute", "notAllowed": "NotAllowed", "tooLarge": "TooLarge"}
_MAX_SAMPLE, _MAX_SUBJECT, _MAX_URL, _MAX_ID = 10, 512, 4096, 128
_MAX_TEXT = 1_500
_SIGNALS = 128  # an exit code above it: 128 and the signal


@dataclass(frozen=True, slots=True)
class Ended:
    """A Pod that ended."""

    exit_code: int
    finished_at: str  # RFC 3339
    report: Report | None  # None: it ended before it could write one
    text: str  # the last lines of its log, where there is no report
    reason: str  # the kubelet's word, such as OOMKilled

    @property
    def why(self) -> str:
        """What it says of its failure, in one line."""
        if self.exit_code > _SIGNALS:
            return f"it was killed ({self.reason or 'Error'}, exit code {self.exit_code})"
        said = str(self.report.get("reason") or "") if self.report is not None else self.text
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        # A command's last word: `chaski: ...`, and the step to take next.
        errors = [number for number, line in enumerate(lines) if line.startswith("chaski: ")]
        if errors:
            lines = [lines[errors[-1]].removeprefix("chaski: "), *lines[errors[-1] + 1 :]]
        return "; ".join(lines)[-_MAX_TEXT:] or f"exit code {self.exit_code}"

    @property
    def is_final(self) -> bool:
        """Whether another try would end the same."""
        return self.exit_code == WRONG_INPUT


def ended(pods: Sequence[Mapping[str, Any]]) -> list[Ended]:
    """The Pods that ended, in the order in which they did."""
    found = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            state = (container.get("state") or {}).get("terminated")
            if container["name"] == CONTAINER and state:
                text = str(state.get("message") or "")
                report = read_report(text.encode())
                code = int(state.get("exitCode", 0))
                reason, at = str(state.get("reason") or ""), str(state.get("finishedAt") or "")
                found.append(Ended(code, at, report, "" if report else text, reason))
    return sorted(found, key=lambda each: each.finished_at)


def progress_url(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Where the Pod that runs is asked how far it is."""
    for pod in pods:
        running, host = (pod.get("status") or {}).get("phase") == "Running", pod_host(pod)
        if running and host and "deletionTimestamp" not in pod["metadata"]:
            port = named_port(pod, PROGRESS_PORT_NAME)
            return None if port is None else f"http://{host}:{port}/progress"
    return None


def read_report(content: bytes) -> Report | None:
    """A report; None where it is none."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("skipped"), dict):
        return None
    numbers = [*(document.get(name) for name in ("found", "ready", "sent")), *document["skipped"].values()]
    return document if all(isinstance(each, int) and each >= 0 for each in numbers) else None


def status_part(report: Report, *, dry_run: bool) -> dict[str, Any]:
    """`counts`, `refusals` and `sample` of the status."""
    skipped = report["skipped"]
    replayed = report["sent"] + skipped.get("sentByThisRun", 0)  # by this Pod, and by those before it
    before = skipped.get("replayedBefore", 0)
    selected = max(0, report["found"] - skipped.get("gone", 0))  # discarded, or past their retention, meanwhile
    refusals = {word: skipped[name] for name, word in _REFUSALS.items() if skipped.get(name)}
    refused = sum(refusals.values())
    part: dict[str, Any] = {
        "counts": {
            "selected": selected,
            "replayed": replayed,
            "skipped": before,
            "refused": refused,
            "remaining": max(0, selected - replayed - before - refused),
        }
    }
    if refusals:
        part["refusals"] = [{"reason": word, "count": count} for word, count in refusals.items()]
    sample = [_shown(each) for each in report.get("sample") or () if isinstance(each, dict)][:_MAX_SAMPLE]
    return part | ({"sample": sample} if dry_run and sample else {})


def _shown(each: Mapping[str, Any]) -> dict[str, str]:
    limits = {"id": _MAX_ID, "subject": _MAX_SUBJECT, "url": _MAX_URL}
    return {name: str(each.get(name, ""))[:most] for name, most in limits.items()}
