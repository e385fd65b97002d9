"""How a replay tells a program how far it is."""

import socket
from pathlib import Path

import aiohttp
import pytest

from chaski_cli.errors import CommandError
from chaski_cli.replay.progress import progress_server, short_report, write_report
from chaski_core import json_codec

REPORT = {"found": 3, "sent": 1, "reason": None, "resume": "chaski dead-letters replay", "sample": []}


async def test_progress_is_what_it_is_when_asked() -> None:
    """Counts, and nothing of messages: anybody may reach the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sent = [0]
    async with progress_server(port, lambda: REPORT | {"sent": sent[0]}), aiohttp.ClientSession() as session:
        for number in (0, 7):
            sent[0] = number
            async with session.get(f"http://127.0.0.1:{port}/progress") as answer:
                assert await answer.json() == {"found": 3, "sent": number}


async def test_a_port_that_is_taken_is_said() -> None:
    """By the flag's name, before anything is sent."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"--progress-port {port}"):
            async with progress_server(port, dict):
                pass


def test_a_report_fits_a_termination_message(tmp_path: Path) -> None:
    """Counts first: of the sample there is as much as there is room for, and a long reason is cut."""
    sample = [{"id": f"m{number}", "subject": "s" * 500, "url": "u" * 500} for number in range(10)]
    short = short_report(REPORT | {"reason": "r" * 9_000, "sample": sample})
    assert len(short) <= 3_500
    told = json_codec.loads(short)
    assert (told["found"], told["sent"], len(told["reason"])) == (3, 1, 1_000)
    assert 0 < len(told["sample"]) < 10
    assert "resume" not in told
    write_report(tmp_path / "report", REPORT)
    assert json_codec.loads((tmp_path / "report").read_bytes())["found"] == 3
    write_report(None, REPORT)
    with pytest.raises(CommandError, match="--report"):
        write_report(tmp_path / "none" / "report", REPORT)
