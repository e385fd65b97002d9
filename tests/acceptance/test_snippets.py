"""The programs of docs/senders.md: each language sends a message and verifies it, through a real `chaski dev`."""

import asyncio
import base64
import contextlib
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import orjson
import pytest

from support.ports import free_port
from support.processes.dev import DevServer
from support.tools import missing, need

pytestmark = [pytest.mark.timeout(300), pytest.mark.landing]

PAGE = Path(__file__).parents[2] / "docs" / "senders.md"
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SECONDS = 60.0


def programs() -> dict[str, str]:
    """The programs of the page by their file names."""
    found = re.findall(r"(?ms)^<!-- run: (\S+) -->\n```\w+\n(.*?)^```", PAGE.read_text("utf-8"))
    return dict(found)


async def run(*command: str | Path, folder: Path) -> None:
    """Runs a compiler to its end."""
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE, stderr=PIPE)
    out, error = await process.communicate()
    assert process.returncode == 0, (out + error).decode()


async def python(folder: Path, name: str) -> list[str]:
    """The command of a Python program."""
    return [sys.executable, str(folder / f"{name}.py")]


def typescript_library() -> Path:
    """The module of the compiler, beside its command."""
    return Path(need("tsc")).resolve().parents[1] / "lib" / "typescript.js"


async def typescript(folder: Path, name: str) -> list[str]:
    """The command of a TypeScript program, compiled to JavaScript; types of Node.js are not installed, so they are not checked."""
    library, node = typescript_library(), need("node")
    script = (
        "const ts = require(process.argv[1]), fs = require('fs');"
        "const made = ts.transpileModule(fs.readFileSync(process.argv[2], 'utf8'), {reportDiagnostics: true,"
        " compilerOptions: {module: 'ESNext', target: 'ES2022', strict: true}});"
        "if (made.diagnostics.length) throw new Error(JSON.stringify(made.diagnostics.map((each) => each.messageText)));"
        "fs.writeFileSync(process.argv[3], made.outputText);"
    )
    made = folder / f"{name}.mjs"
    await run(node, "-e", script, library, folder / f"{name}.ts", made, folder=folder)
    return [node, str(made)]


async def golang(folder: Path, name: str) -> list[str]:
    """The command of a Go program."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go") or missing("Go is not installed")
    await run(go, "build", "-o", folder / f"{name}-go", folder / f"{name}.go", folder=folder)
    return [str(folder / f"{name}-go")]


LANGUAGES = {"Python": ("py", python), "TypeScript": ("ts", typescript), "Go": ("go", golang)}


@contextlib.asynccontextmanager
async def running(command: list[str], environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """A process with the variables added; killed on exit."""
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | environment, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def listening(port: int) -> None:
    """Waits for a server."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def status_of_forged(url: str) -> int:
    """The answer to a request with a signature of another key."""
    headers = {"webhook-id": "1", "webhook-timestamp": "4102444800", "webhook-signature": "v1,AAAA"}
    async with aiohttp.ClientSession() as http, http.post(url, data=b"{}", headers=headers) as answer:
        return answer.status


def test_the_page_has_a_sender_and_a_target_of_each_language() -> None:
    """And no other programs."""
    assert set(programs()) == {f"{name}.{ending}" for name in ("send", "target") for ending, _ in LANGUAGES.values()}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_program_sends_and_another_verifies(language: str, tmp_path: Path) -> None:
    """The target prints the verified message once; a forged request is refused."""
    ending, command_of = LANGUAGES[language]
    for name in ("send", "target"):
        (tmp_path / f"{name}.{ending}").write_text(programs()[f"{name}.{ending}"])
    (tmp_path / "secrets" / "keys").mkdir(parents=True)
    (tmp_path / "secrets" / "keys" / "current").write_text(KEY)
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    rule = {"name": "target", "url": f"http://127.0.0.1:{port}/", "signing": {"secretName": "keys"}}
    route = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "dev", "namespace": "default"},
        "spec": {"queues": [{"name": "messages"}], "targets": {"allow": [rule]}},
    }
    server = DevServer(tmp_path, route, options=("--secrets", tmp_path / "secrets"))
    await server.start()
    try:
        sending, receiving = await command_of(tmp_path, "send"), await command_of(tmp_path, "target")
        async with running(receiving, {"KEY": KEY, "PORT": str(port)}) as target:
            await listening(port)
            environment = {"CHASKI": f"{server.url}/v1/routes/default/dev", "TARGET": url, "TOKEN_FILE": ""}
            async with running(sending, environment) as sender:
                out, error = await asyncio.wait_for(sender.communicate(), SECONDS)
            assert sender.returncode == 0, error.decode()
            assert out.strip(), "the sender prints the message's identity"
            assert target.stdout is not None
            received = await asyncio.wait_for(target.stdout.readline(), SECONDS)
            assert orjson.loads(received) == {"language": language}
            assert await status_of_forged(url) == 401
    finally:
        await server.end()
