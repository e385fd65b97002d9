"""`chaski console` over queues and a table on AWS's protocols."""

import re
from pathlib import Path

import aiohttp
import pytest

from acceptance.cli_process import chaski
from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import Reason
from chaski_runtime.process.clock import SystemClock
from support.aws.emulators import standins
from support.processes.console import console_process
from support.processes.dev import route
from support.processes.services import Cloud

HEADER = {"X-Forwarded-User": "ada"}


def a_letter() -> DeadLetter:
    """One that was given up just now."""
    document = {"subject": "s", "body": {"url": "http://127.0.0.1:9/x", "content": "about a llama"}}
    now = SystemClock().now_ms()
    url = "http://127.0.0.1:9/x"
    return DeadLetter("t/r", "m-1", "m-1", "s", now - 5_000, Reason.EXHAUSTED, "503", "target", url, 3, (), document)


async def test_it_finds_shows_and_sends_again_behind_a_proxy(tmp_path: Path) -> None:
    """Nobody gets in without a name; who does finds a dead letter by a word, and sends it back to its queue."""
    async with standins("embedded", tmp_path) as urls:
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(route("r", "http://127.0.0.1:9/"))
        await cloud.keep(a_letter())
        try:
            arguments = ("--route", cloud.file, "--auth", "header")
            async with console_process(tmp_path, cloud.environment, *arguments) as console:
                await look_and_replay(console.url, cloud)
                (line,) = await console.told("replay")
                assert (line["user.name"], line["chaski.message.ids"]) == ("ada", ["m-1"])
                assert await console.stop() == 0
        finally:
            await cloud.close()


async def look_and_replay(base: str, cloud: Cloud) -> None:
    """What one would do in a browser."""
    async with aiohttp.ClientSession() as stranger, stranger.get(base) as answer:
        assert answer.status == 401
    async with aiohttp.ClientSession(headers=HEADER) as http:
        async with http.get(base) as answer:
            assert "backlog" in await answer.text()
        async with http.get(f"{base}dead-letters?text=LLAMA") as answer:
            page = await answer.text()
        assert "/dead-letters/m-1" in page
        async with http.get(f"{base}messages/m-1") as answer:
            assert "dead-lettered" in await answer.text()
        token = re.search(r'name="token" value="(\w+)"', page)
        assert token is not None
        assert await cloud.lying() == 0
        form = {"token": token[1], "action": "replay", "id": "m-1"}
        async with http.post(f"{base}dead-letters", data=form) as answer:
            assert "1 sent again" in await answer.text()
        assert await cloud.lying() == 1


async def test_a_route_that_is_none_is_told(tmp_path: Path) -> None:
    """With exit code 2, and without a trace."""
    (tmp_path / "resolved.yaml").write_text("kind: Other\n")
    ended = await chaski("console", "--route", tmp_path / "resolved.yaml", "--auth", "none", "--port", "0")
    assert ended.code == 2
    assert "Traceback" not in ended.err


async def test_without_routes_or_a_cluster_there_is_nothing_to_show(tmp_path: Path) -> None:
    """Told with exit code 2, and what was looked for."""
    for flags, told in (([], "name the routes"), (["--kubernetes"], "no Kubernetes API server is known")):
        ended = await chaski("console", *flags, "--auth", "none", "--port", "0", environment={"HOME": str(tmp_path)})
        assert (ended.code, told in ended.err) == (2, True), ended.err


REFUSED = {
    "open to others": (["--auth", "none", "--host", "0.0.0.0"], "is no address of this machine alone"),
    "no file": (["--auth", "password"], "needs --password-file"),
    "a file that is not there": (["--auth", "password", "--password-file", "none"], "No such file"),
    "a file that names nobody": (["--auth", "password", "--password-file", "empty"], "names nobody"),
    "a short password": (["--auth", "password", "--password-file", "short"], "12 to 1024 characters"),
    "passwords that nobody asks for": (["--auth", "none", "--password-file", "short"], "goes with --auth password"),
    "nothing said": ([], "--auth"),
    "files and a cluster": (["--auth", "none", "--kubernetes"], "--route FILE|DIR, or --kubernetes"),
    "namespaces of files": (["--auth", "none", "--namespace", "a"], "goes with --kubernetes"),
}


@pytest.mark.parametrize(("flags", "told"), REFUSED.values(), ids=list(REFUSED))
async def test_it_does_not_start_without_a_way_to_tell_who_asks(tmp_path: Path, flags: list[str], told: str) -> None:
    """Exit code 2 and the reason; no password is repeated."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("ada:secret\n")
    flags = [
        str(tmp_path / flag) if flag in ("none", "empty", "short") and at != 1 else flag
        for at, flag in enumerate(flags)
    ]
    ended = await chaski("console", "--route", tmp_path / "resolved.yaml", *flags, "--port", "0")
    assert (ended.code, told in ended.err) == (2, True), ended.err
    assert "secret" not in ended.err
