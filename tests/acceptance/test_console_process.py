"""`chaski console` over queues and a table on AWS's protocols."""

import re
from pathlib import Path

import aiohttp
import pytest

from acceptance.cli_process import chaski
from support.aws.emulators import running_emulators
from support.dead_letters.builder import a_dead_letter_to_find
from support.processes.console import console_process
from support.processes.dev import route
from support.processes.services import Cloud

pytestmark = pytest.mark.landing
HEADER = {"X-Forwarded-User": "ada"}


async def test_search_and_replay_behind_a_proxy(tmp_path: Path) -> None:
    """Requests without a user name are denied; a user finds a dead letter by its text and replays it."""
    async with running_emulators("embedded", tmp_path) as urls:
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(route("r", "http://127.0.0.1:9/"))
        await cloud.keep(a_dead_letter_to_find("t/r", "m-1"))
        try:
            arguments = ("--resolved", cloud.file, "--auth", "header")
            async with console_process(tmp_path, cloud.environment, *arguments) as console:
                await search_and_replay(console.url, cloud)
                (line,) = await console.wait_for_lines("replay")
                assert (line["user.name"], line["chaski.message.ids"]) == ("ada", ["m-1"])
                assert await console.stop() == 0
        finally:
            await cloud.close()


async def search_and_replay(base: str, cloud: Cloud) -> None:
    """The requests of a browser."""
    async with aiohttp.ClientSession() as anonymous, anonymous.get(base) as response:
        assert response.status == 401
    async with aiohttp.ClientSession(headers=HEADER) as http:
        async with http.get(base) as response:
            assert "backlog" in await response.text()
        async with http.get(f"{base}dead-letters?text=LLAMA") as response:
            page = await response.text()
        assert "/dead-letters/m-1" in page
        async with http.get(f"{base}messages/m-1") as response:
            assert "dead-lettered" in await response.text()
        token = re.search(r'name="token" value="([\w-]+)"', page)
        assert token is not None
        assert await cloud.lying() == 0
        form = {"token": token[1], "action": "replay", "id": "m-1"}
        async with http.post(f"{base}dead-letters", data=form) as response:
            assert "1 replayed" in await response.text()
        assert await cloud.lying() == 1


async def test_an_invalid_route_file_is_rejected(tmp_path: Path) -> None:
    """With exit code 2, and without a traceback."""
    (tmp_path / "resolved.yaml").write_text("kind: Other\n")
    ended = await chaski("console", "--resolved", tmp_path / "resolved.yaml", "--auth", "none", "--port", "0")
    assert ended.code == 2
    assert "Traceback" not in ended.err


async def test_routes_are_required(tmp_path: Path) -> None:
    """Exit code 2 and an error that names the flags."""
    for flags, named in (([], "--resolved"), (["--kubernetes"], "--kubernetes")):
        ended = await chaski("console", *flags, "--auth", "none", "--port", "0", environment={"HOME": str(tmp_path)})
        assert (ended.code, named in ended.err) == (2, True), ended.err


REJECTED = {
    "open to others": (["--auth", "none", "--host", "0.0.0.0"], "loopback"),
    "open to others by both families": (["--auth", "none", "--host", ""], "every address of this machine"),
    "no file": (["--auth", "password"], "requires --password-file"),
    "a file that is not there": (["--auth", "password", "--password-file", "none"], "No such file"),
    "a file without users": (["--auth", "password", "--password-file", "empty"], "no users"),
    "a short password": (["--auth", "password", "--password-file", "short"], "12 to 1024 characters"),
    "a password file without password authentication": (
        ["--auth", "none", "--password-file", "short"],
        "requires --auth password",
    ),
    "no authentication chosen": ([], "--auth"),
    "files and a cluster": (["--auth", "none", "--kubernetes"], "--resolved FILE|DIR, or --kubernetes"),
    "namespaces of files": (["--auth", "none", "--namespace", "a"], "requires --kubernetes"),
}


@pytest.mark.parametrize(("flags", "named"), REJECTED.values(), ids=list(REJECTED))
async def test_contradicting_options_are_rejected(tmp_path: Path, flags: list[str], named: str) -> None:
    """Exit code 2 and the flag or reason; passwords are not printed."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("ada:secret\n")
    flags = [
        str(tmp_path / flag) if flag in ("none", "empty", "short") and at != 1 else flag
        for at, flag in enumerate(flags)
    ]
    ended = await chaski("console", "--resolved", tmp_path / "resolved.yaml", *flags, "--port", "0")
    assert (ended.code, named in ended.err) == (2, True), ended.err
    assert "secret" not in ended.err
