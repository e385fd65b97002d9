"""The report of a replay: written by `chaski dead-letters replay`, read by the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from chaski_core import json_codec
from chaski_replay.selection import SkipReason

PROGRESS_PATH = "/progress"
_MAX_BYTES = 3_500  # a kubelet keeps 4,096 of a termination message
_MAX_TEXT = 1_000
_REPORTED = tuple(reason for reason in SkipReason if reason is not SkipReason.OWN)


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """One of the first messages to be sent."""

    message_id: str
    id: str
    subject: str
    url: str

    def without_query(self) -> Self:
        """With the URL up to its query, which often holds a token; `?…` stands for one."""
        path, mark, _ = self.url.partition("#")[0].partition("?")
        return replace(self, url=f"{path}?…" if mark else path)

    def document(self) -> dict[str, str]:
        return {"messageId": self.message_id, "id": self.id, "subject": self.subject, "url": self.url}


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a run has done so far or, in a dry run, would do."""

    run: str = ""
    dry_run: bool = False
    until: str | None = None  # RFC 3339: dead letters made later are not of this run
    found: int = 0
    ready: int = 0
    sent: int = 0
    skipped: Mapping[SkipReason, int] = field(default_factory=dict)
    reason: str | None = None  # why the run ended early
    resume: str | None = None  # shell command
    sample: tuple[SampleMessage, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.reason and not self.dry_run

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **self._head(),
            **self._counts(),
            "complete": self.complete,
            "reason": self.reason,
            "resume": self.resume,
            "sample": [each.document() for each in self.sample],
        }

    def progress_document(self) -> dict[str, Any]:
        """The JSON form without anything about messages: the progress port has no authentication."""
        return {**self._head(), **self._counts(), "complete": self.complete}

    def without_queries(self) -> Self:
        """For places that more people can read than dead letters: the status and the log of a Pod."""
        return replace(self, sample=tuple(each.without_query() for each in self.sample))

    def termination_message(self) -> bytes:
        """The JSON form cut to what a kubelet keeps: without `resume`, and with as much of the sample as fits."""
        report = replace(self.without_queries(), reason=self.reason[:_MAX_TEXT] if self.reason else None)
        document = report.document()
        del document["resume"]
        while True:
            text = json_codec.dumps(document)
            if len(text) <= _MAX_BYTES or not document["sample"]:
                return text
            document["sample"].pop()

    def reported_skips(self) -> list[tuple[SkipReason, int]]:
        """The reasons with a count above zero."""
        return [(reason, self.skipped[reason]) for reason in _REPORTED if self.skipped.get(reason)]

    def _head(self) -> dict[str, Any]:
        return {"run": self.run, "dryRun": self.dry_run, "until": self.until}

    def _counts(self) -> dict[str, Any]:
        skipped = {reason.value: count for reason, count in self.reported_skips()}
        return {"found": self.found, "ready": self.ready, "sent": self.sent, "skipped": skipped}

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """Reads any of the three JSON forms, of this release or another; None if `content` is not a report."""
        try:
            document = json_codec.loads(content)
        except ValueError:
            return None
        if not isinstance(document, dict) or not isinstance(document.get("skipped"), dict):
            return None
        skipped = document["skipped"]
        counts = [document.get(name) for name in ("found", "ready", "sent")]
        if not all(isinstance(each, int) and 0 <= each < 2**63 for each in (*counts, *skipped.values())):
            return None
        reason, resume, until = (document.get(name) for name in ("reason", "resume", "until"))
        sample = document.get("sample")
        return cls(
            run=str(document.get("run", "")),
            dry_run=bool(document.get("dryRun")),
            until=None if until is None else str(until),
            found=document["found"],
            ready=document["ready"],
            sent=document["sent"],
            skipped={each: skipped[each.value] for each in _REPORTED if each.value in skipped},
            reason=str(reason) if reason else None,
            resume=str(resume) if resume else None,
            sample=tuple(_sample_message(each) for each in sample if isinstance(each, dict))
            if isinstance(sample, list)
            else (),
        )


def _sample_message(document: Mapping[str, Any]) -> SampleMessage:
    return SampleMessage(*(str(document.get(name, "")) for name in ("messageId", "id", "subject", "url")))
