"""The report of a replay: its JSON forms, read back by the operator."""

import dataclasses

import pytest

from chaski_core import json_codec
from chaski_replay.report import ReplayReport, SampleMessage
from chaski_replay.selection import SkipReason

REPORT = ReplayReport(
    run="run1",
    dry_run=False,
    until="2026-11-24T10:00:00.000Z",
    found=5,
    ready=3,
    sent=2,
    skipped={SkipReason.MALFORMED: 1, SkipReason.DONE: 1},
    reason="queue unavailable",
    resume="chaski dead-letters replay --run run1",
    sample=(SampleMessage("i1", "m1", "s", "http://t0.example/"),),
)


def test_the_document_has_the_fields_of_the_command_line_s_json() -> None:
    """`chaski dead-letters replay --output json` is a documented format."""
    assert REPORT.document() == {
        "run": "run1",
        "dryRun": False,
        "until": "2026-11-24T10:00:00.000Z",
        "found": 5,
        "ready": 3,
        "sent": 2,
        "skipped": {"malformed": 1, "sentByThisRun": 1},
        "complete": False,
        "reason": "queue unavailable",
        "resume": "chaski dead-letters replay --run run1",
        "sample": [{"messageId": "i1", "id": "m1", "subject": "s", "url": "http://t0.example/"}],
    }


@pytest.mark.parametrize("reason", list(SkipReason))
def test_every_skip_reason_has_a_description_and_all_but_own_are_reported(reason: SkipReason) -> None:
    """Dead letters that the run itself made did not exist when it began."""
    assert reason.description
    report = dataclasses.replace(REPORT, skipped={reason: 1})
    assert report.document()["skipped"] == ({} if reason is SkipReason.OWN else {reason.value: 1})


def test_what_the_command_writes_is_what_the_operator_reads() -> None:
    """In each of the three forms, as far as the form has the field."""
    assert ReplayReport.parse(json_codec.dumps(REPORT.document())) == REPORT
    assert ReplayReport.parse(REPORT.termination_message()) == dataclasses.replace(REPORT, resume=None)
    progress = ReplayReport.parse(json_codec.dumps(REPORT.progress_document()))
    assert progress == dataclasses.replace(REPORT, reason=None, resume=None, sample=())


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://t.example/a?token=s3cret", "https://t.example/a?…"),
        ("https://t.example/a#?s3cret", "https://t.example/a"),
        ("https://t.example/a?s3cret#b?c", "https://t.example/a?…"),
        ("https://t.example/a", "https://t.example/a"),
    ],
)
def test_a_query_is_not_in_what_a_kubelet_keeps(url: str, shown: str) -> None:
    """More people can read Pods than dead letters. The command itself prints it."""
    report = dataclasses.replace(REPORT, sample=(SampleMessage("i1", "m1", "s", url),))
    parsed = ReplayReport.parse(report.termination_message())
    assert parsed is not None
    assert parsed.sample[0].url == shown
    assert report.document()["sample"][0]["url"] == url


def test_unknown_fields_of_another_release_are_ignored() -> None:
    """One release back and one forward run side by side."""
    document = REPORT.document() | {"new": 1, "skipped": {"malformed": 1, "sentByThisRun": 1, "newReason": 4}}
    assert ReplayReport.parse(json_codec.dumps(document)) == REPORT


@pytest.mark.parametrize(
    "content",
    [b"", b"chaski: wrong", b"[]", b'{"found": 1}', b'{"found": -1, "ready": 0, "sent": 0, "skipped": {}}',
     b'{"found": 1, "ready": 0, "sent": "x", "skipped": {}}', b'{"found": 1, "ready": 0, "sent": 0, "skipped": {"x": "y"}}'],
)  # fmt: skip
def test_content_that_is_not_a_report_is_refused(content: bytes) -> None:
    """A Pod can write anything; a status takes numbers."""
    assert ReplayReport.parse(content) is None
