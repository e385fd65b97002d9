"""A real Prometheus, on a free port of 127.0.0.1."""

import asyncio
import contextlib
import json
import re
import signal
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from support.tools import need

START_SECONDS = 60.0
STOP_SECONDS = 30.0

Series = dict[str, str]


@dataclass(frozen=True)
class Prometheus:
    """Runs queries on the scraped data."""

    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **parameters: str) -> Any:
        """`data` of a response of the HTTP API. Raises AssertionError with Prometheus' error message if it refuses."""
        async with self.http.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            document = json.loads(await response.text())
        assert document["status"] == "success", f"{parameters}: {document.get('error')}"
        return document["data"]

    async def query(self, expression: str) -> list[tuple[Series, float]]:
        """The series of an instant query with their values."""
        data = await self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in data["result"]]

    async def by(self, label: str, expression: str) -> dict[str, float]:
        """Values of an instant query by one label."""
        return {labels.get(label, ""): value for labels, value in await self.query(expression)}

    async def until(self, expression: str, wanted: float, within: float = 60.0) -> None:
        """Waits until a query has one series with this value."""
        found: list[tuple[Series, float]] = []
        try:
            async with asyncio.timeout(within):
                while [value for _, value in found] != [wanted]:
                    await asyncio.sleep(0.25)
                    found = await self.query(expression)
        except TimeoutError:
            raise AssertionError(f"{expression} is {found}, not {wanted}, after {within} s") from None


@contextlib.asynccontextmanager
async def prometheus(folder: Path, targets: Sequence[str], rules: Path | None = None) -> AsyncIterator[Prometheus]:
    """Runs a Prometheus that scrapes these `/metrics` URLs each second."""
    program = need("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(json.dumps(_config(targets, rules)))  # JSON is YAML
    port = _free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.retention.time=1h",
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as http:
            server = Prometheus(f"http://127.0.0.1:{port}", http)
            await _ready(server, process, folder / "prometheus.log")
            yield server
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _ready(server: Prometheus, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert process.returncode is None, await asyncio.to_thread(log.read_text)
            with contextlib.suppress(aiohttp.ClientError):
                async with server.http.get(f"{server.url}/-/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


def _config(targets: Sequence[str], rules: Path | None) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "5s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {"job_name": "chaski", "static_configs": [{"targets": [urlsplit(each).netloc for each in targets]}]}
        ],
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def documented_queries(page: Path) -> Mapping[str, str]:
    """The queries of a documentation page: the rows `| question | `query` |` of its tables."""
    rows = re.findall(r"(?m)^\| ([^|`]+?) \| `([^`]+)` \|$", page.read_text(encoding="utf-8"))
    assert len({question for question, _ in rows}) == len(rows), f"{page} has a duplicate question"
    return {question: query.replace("\\|", "|") for question, query in rows}
