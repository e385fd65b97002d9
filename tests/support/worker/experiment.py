"""The demo's experiment, for separate processes."""

import aiohttp

from chaski_cli.demo.experiment import messages
from support.processes.dev import RecordingTarget, send_batch

NEVER_SECONDS = 3_600.0


def answer(path: str, _message_id: str, _attempt: int) -> tuple[float, int]:
    """Responds 200, 400, 500, or never."""
    endpoint = path.strip("/")
    return (NEVER_SECONDS, 200) if endpoint == "timeout" else (0.0, int(endpoint))


async def send(http: aiohttp.ClientSession, url: str, target: RecordingTarget) -> None:
    """Sends the experiment's messages, numbered."""
    sent = [{"id": f"m{n:03}", **each} for n, each in enumerate(messages(target.url.rstrip("/")))]
    results = await send_batch(http, url, "demo/experiment", sent)
    assert {result["status"] for result in results} == {202}
