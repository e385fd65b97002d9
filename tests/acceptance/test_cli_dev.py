"""`chaski dev`, on a terminal and in scripts."""

import asyncio
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import aiohttp
import pytest

from acceptance.cli_process import CHASKI, START_SECONDS, chaski, dev, status_of, target, write_route

MESSAGES = "/v1/routes/default/first/messages"


async def post(base: str, url: str, content: str) -> int:
    """Sends one message; returns the response's status."""
    message = {"subject": "s", "body": {"url": url, "content": content}}
    async with aiohttp.ClientSession() as http, http.post(base + MESSAGES, json=message) as answer:
        return answer.status


async def test_it_is_ready_on_both_ports_and_delivers(tmp_path: Path) -> None:
    """Health endpoints are on both ports; an accepted message is delivered."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        for base in (running.ingest, running.metrics.removesuffix("/metrics")):
            assert (await status_of(f"{base}/readyz"))[0] == 200
            assert (await status_of(f"{base}/healthz"))[0] == 200
        assert await post(running.ingest, there.url, "hello") == 202
        assert await there.got(1) == ["hello"]
        status, page = await status_of(running.metrics)
        assert status == 200
        assert "chaski_messages_accepted_total" in page


async def test_sigterm_ends_it_with_exit_code_zero(tmp_path: Path) -> None:
    """The log says that it stopped."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
        assert running.log_lines()[-1]["message"] == "stopped"


@pytest.mark.promise(11)
async def test_attempts_in_flight_finish_unless_a_second_signal_arrives(tmp_path: Path) -> None:
    """After one SIGTERM a hanging attempt continues; the second ends the process at once."""
    async with target() as there:
        there.hang = True
        async with dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
            assert await post(running.ingest, there.url, "slow") == 202
            await there.got(1)
            running.process.send_signal(signal.SIGTERM)
            with pytest.raises(TimeoutError):
                await running.ended(1.0)
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended(5.0) == -signal.SIGTERM


@pytest.mark.promise(1)
async def test_accepted_messages_survive_a_kill(tmp_path: Path) -> None:
    """Killed during an attempt and restarted on the same folder, it delivers."""
    async with target() as there:
        there.hang = True
        route = write_route(tmp_path, there.url)
        async with dev(route, tmp_path / "data") as running:
            assert await post(running.ingest, there.url, "kept") == 202
            await there.got(1)
            running.process.kill()
            await running.ended()
        there.hang = False
        async with dev(route, tmp_path / "data"):
            assert await there.got(2) == ["kept", "kept"]


async def test_invalid_routes_are_refused_with_every_error(tmp_path: Path) -> None:
    """Nothing is started; each error has its path; exit code 2."""
    route = write_route(tmp_path, "http://127.0.0.1:9/", ordering="Sometimes", delivery={"timeoutSeconds": 0})
    ended = await chaski("dev", route, "--data", tmp_path / "data", "--port", "0", "--metrics-port", "0")
    assert ended.code == 2
    assert "spec.ordering" in ended.err
    assert "spec.delivery.timeoutSeconds" in ended.err
    assert not (tmp_path / "data").exists()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The error names the port and its flag."""
    async with target() as there:
        port = there.url.split(":")[-1].strip("/")
        route = write_route(tmp_path, there.url)
        ended = await chaski("dev", route, "--data", tmp_path / "data", "--port", port, "--metrics-port", "0")
    assert ended.code == 1
    assert port in ended.err
    assert "--port" in ended.err
    assert "Traceback" not in ended.err


async def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    """A second process on the same folder is refused, and the first continues."""
    async with target() as there, dev(write_route(tmp_path, there.url), tmp_path / "data") as running:
        again = await chaski(
            "dev", tmp_path / "route.yaml", "--data", tmp_path / "data", "--port", "0", "--metrics-port", "0"
        )
        assert again.code == 1
        assert "data" in again.err
        assert "Traceback" not in again.err
        assert (await status_of(f"{running.ingest}/readyz"))[0] == 200


async def test_the_terminal_shows_how_to_send(tmp_path: Path) -> None:
    """A complete curl command, the console's URL, and warnings about loopback targets and missing authentication."""
    route = write_route(tmp_path, "http://127.0.0.1:9/")
    ports = ("--port", "0", "--metrics-port", "0")
    process = await asyncio.create_subprocess_exec(
        CHASKI, "dev", route, "--data", tmp_path / "data", *ports, stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        text = ""
        async with asyncio.timeout(START_SECONDS):  # the log is written by another thread: the order varies
            while not ("127.0.0.0/8" in text and "no authentication" in text and "curl -i" in text):
                text += (await process.stdout.readline()).decode()
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert re.search(rf"curl -i http://127\.0\.0\.1:\d+{MESSAGES} ", text)
    assert re.search(r"console +http://127\.0\.0\.1:\d+/", text)
