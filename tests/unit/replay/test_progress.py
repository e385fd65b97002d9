"""Progress of a replay: the HTTP endpoint and the termination message."""

import dataclasses
import socket
from pathlib import Path

import aiohttp
import pytest

from chaski_core import json_codec
from chaski_replay.progress import progress_server, write_report
from chaski_replay.report import ReplayReport, SampleMessage
from chaski_replay.selection import SkipReason
from chaski_runtime.process.command_error import CommandError
from support.tools import need_ipv6

REPORT = ReplayReport(run="run1", found=3, sent=1, skipped={SkipReason.GONE: 1, SkipReason.OWN: 2}, resume="chaski ...")


async def test_the_endpoint_serves_current_counts_and_nothing_about_messages() -> None:
    """The port has no authentication."""
    need_ipv6()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    report = [dataclasses.replace(REPORT, reason="r", sample=(SampleMessage("i", "m", "s", "u"),))]
    async with progress_server(port, lambda: report[0]), aiohttp.ClientSession() as session:
        for sent in (0, 7):
            report[0] = dataclasses.replace(report[0], sent=sent)
            address = "127.0.0.1" if sent == 0 else "[::1]"  # the operator asks the Pod's address, of either family
            async with session.get(f"http://{address}:{port}/progress") as response:
                assert await response.json() == {
                    "run": "run1",
                    "dryRun": False,
                    "until": None,
                    "found": 3,
                    "ready": 0,
                    "sent": sent,
                    "skipped": {"gone": 1},
                    "complete": False,
                }


async def test_a_port_in_use_is_an_error_that_names_the_flag() -> None:
    """Before anything is sent."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CommandError, match=f"--progress-port {port}"):
            async with progress_server(port, ReplayReport):
                pass


def test_the_report_file_fits_a_termination_message(tmp_path: Path) -> None:
    """Counts first: a long reason is cut, the sample is shortened, the command to resume is left out."""
    sample = tuple(SampleMessage("i", f"m{number}", "s" * 500, "u" * 500) for number in range(10))
    write_report(tmp_path / "report", dataclasses.replace(REPORT, reason="r" * 9_000, sample=sample))
    content = (tmp_path / "report").read_bytes()
    assert len(content) <= 3_500
    document = json_codec.loads(content)
    assert (document["found"], document["sent"], len(document["reason"])) == (3, 1, 1_000)
    assert 0 < len(document["sample"]) < 10
    assert "resume" not in document
    write_report(None, REPORT)
    with pytest.raises(CommandError, match="--report"):
        write_report(tmp_path / "none" / "report", REPORT)
