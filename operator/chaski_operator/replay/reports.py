"""What the Pods of a replay report: progress, and the cause of their end. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_operator.pods.metrics_client import named_port, pod_host
from chaski_operator.replay.job import CONTAINER, PROGRESS_PORT_NAME
from chaski_replay.report import PROGRESS_PATH, ReplayReport, SampleMessage
from chaski_replay.selection import SkipReason
from chaski_runtime.process.command_error import ExitCode

_REFUSALS = {
    SkipReason.MALFORMED: "Malformed",
    SkipReason.NO_ROUTE: "NoRoute",
    SkipReason.NOT_ALLOWED: "NotAllowed",
    SkipReason.TOO_LARGE: "TooLarge",
    SkipReason.REDACTED: "Redacted",
}
_MAX_SAMPLE, _MAX_SUBJECT, _MAX_URL, _MAX_ID = 10, 512, 4096, 128
_MAX_TEXT = 1_500
_SIGNALS = 128  # an exit code above it is 128 + the signal's number


@dataclass(frozen=True, slots=True)
class EndedPod:
    """The end of a Pod."""

    exit_code: int
    finished_at: str  # RFC 3339
    report: ReplayReport | None  # None: it ended before writing one
    text: str  # the last lines of its log, if it wrote no report
    reason: str  # of the kubelet, such as OOMKilled

    @property
    def cause(self) -> str:
        """The cause of its failure, in one line."""
        if self.exit_code > _SIGNALS:
            return f"killed ({self.reason or 'Error'}, exit code {self.exit_code})"
        text = self.report.reason or "" if self.report is not None else self.text
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # The command's error, `chaski: ...`, followed by the remedy.
        errors = [number for number, line in enumerate(lines) if line.startswith("chaski: ")]
        if errors:
            lines = [lines[errors[-1]].removeprefix("chaski: "), *lines[errors[-1] + 1 :]]
        return "; ".join(lines)[-_MAX_TEXT:] or f"exit code {self.exit_code}"

    @property
    def is_final(self) -> bool:
        """Whether a retry would end in the same way."""
        return self.exit_code == ExitCode.WRONG_INPUT


def ended_pods(pods: Sequence[Mapping[str, Any]]) -> list[EndedPod]:
    """The Pods that have ended, in order of their end."""
    found = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            state = (container.get("state") or {}).get("terminated")
            if container["name"] == CONTAINER and state:
                text = str(state.get("message") or "")
                report = ReplayReport.parse(text.encode())
                code = int(state.get("exitCode", 0))
                reason, at = str(state.get("reason") or ""), str(state.get("finishedAt") or "")
                found.append(EndedPod(code, at, report, "" if report else text, reason))
    return sorted(found, key=lambda each: each.finished_at)


def progress_url(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """The URL of the running Pod's progress; None if no Pod runs."""
    for pod in pods:
        running, host = (pod.get("status") or {}).get("phase") == "Running", pod_host(pod)
        if running and host and "deletionTimestamp" not in pod["metadata"]:
            port = named_port(pod, PROGRESS_PORT_NAME)
            return None if port is None else f"http://{host}:{port}{PROGRESS_PATH}"
    return None


def status_part(report: ReplayReport, *, dry_run: bool) -> dict[str, Any]:
    """`counts`, `refusals` and `sample` of the status."""
    skipped = report.skipped
    replayed = report.sent + skipped.get(SkipReason.DONE, 0)  # by this Pod and its predecessors
    before = skipped.get(SkipReason.REPLAYED, 0)
    selected = max(0, report.found - skipped.get(SkipReason.GONE, 0))  # minus those discarded or expired meanwhile
    refusals = {name: skipped[reason] for reason, name in _REFUSALS.items() if skipped.get(reason)}
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
        part["refusals"] = [{"reason": reason, "count": count} for reason, count in refusals.items()]
    sample = [_sample_item(each) for each in report.sample[:_MAX_SAMPLE]]
    return part | ({"sample": sample} if dry_run and sample else {})


def _sample_item(message: SampleMessage) -> dict[str, str]:
    message = message.without_query()  # a Job of the release before reports whole URLs
    return {"id": message.id[:_MAX_ID], "subject": message.subject[:_MAX_SUBJECT], "url": message.url[:_MAX_URL]}
