"""`chaski dev` while its route files change, and without any."""

import asyncio
import contextlib
import itertools
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from acceptance.cli_process import CHASKI, START_SECONDS, Dev, chaski, dev, eventually, status_of, target, write_route
from support.processes.dev import DevServer, dead_letters, recording_target, route, send_batch, wait_until

MESSAGES = "/v1/routes/default/first/messages"


async def post(base: str, url: str, content: str, path: str = MESSAGES) -> int:
    """Sends one message; returns the response's status."""
    message = {"subject": "s", "body": {"url": url, "content": content}}
    async with aiohttp.ClientSession() as http, http.post(base + path, json=message) as answer:
        return answer.status


async def end(process: Process) -> None:
    """Kills a process that is still running, and closes its pipes."""
    if process.returncode is None:
        process.kill()
    await process.communicate()


def logged(running: Dev, text: str) -> Callable[[], Any]:
    """A poll for a log line that contains a text."""

    async def poll() -> str | None:
        return next((each["message"] for each in running.log_lines() if text in each["message"]), None)

    return poll


async def test_the_new_target_of_a_changed_file_gets_the_next_message(tmp_path: Path) -> None:
    """Within two seconds, with a line that says what changed; the same worker process, and no message for the old target."""
    async with target() as old, target() as new, dev(write_route(tmp_path, old.url), tmp_path / "data") as running:
        assert await post(running.ingest, old.url, "before") == 202
        assert await old.got(1) == ["before"]
        write_route(tmp_path, new.url, delivery={"timeoutSeconds": 7})
        message = await eventually(logged(running, "route default/first: "), 2.0)
        assert message == "route default/first: changed (delivery, targets)"
        assert await post(running.ingest, new.url, "after") == 202
        assert await new.got(1) == ["after"]
        assert old.bodies == ["before"]


async def test_an_attempt_in_flight_finishes_by_the_old_form(tmp_path: Path) -> None:
    """Its subject waits for it, so that order holds; others use the new form at once."""
    async with target() as old, target() as new, dev(write_route(tmp_path, old.url), tmp_path / "data") as running:
        old.hang = True
        assert await post(running.ingest, old.url, "slow") == 202
        await old.got(1)
        assert await post(running.ingest, new.url, "behind it") == 202
        write_route(tmp_path, new.url)
        await eventually(logged(running, "changed (targets)"), 5.0)
        other = {"subject": "other", "body": {"url": new.url, "content": "not behind it"}}
        async with aiohttp.ClientSession() as http, http.post(running.ingest + MESSAGES, json=other) as answer:
            assert answer.status == 202
        assert await new.got(1) == ["not behind it"]


async def test_an_invalid_file_changes_nothing_and_is_named(tmp_path: Path) -> None:
    """The error names file and field; the next valid form is used."""
    file = write_route(tmp_path, "http://127.0.0.1:9/")
    async with target() as there, dev(file, tmp_path / "data") as running:
        write_route(tmp_path, there.url, ordering="Sometimes")
        message = await eventually(logged(running, "invalid"))
        assert message.startswith(f"{file} has changed but is invalid; the routes stay as they are:")
        assert "spec.ordering" in message
        assert (await status_of(f"{running.ingest}/readyz"))[0] == 200
        write_route(tmp_path, there.url, ordering="Strict")
        message = await eventually(logged(running, "can't be used"))
        assert "the ordering of a route can't be changed" in message
        write_route(tmp_path, there.url)
        await eventually(logged(running, "route default/first: changed (targets)"))
        assert await post(running.ingest, there.url, "hello") == 202
        assert await there.got(1) == ["hello"]


async def test_routes_of_a_file_come_and_go(tmp_path: Path) -> None:
    """A new one takes messages, one that is gone answers 404, and the console shows what there is."""
    first = write_route(tmp_path, "http://127.0.0.1:9/").read_bytes()
    async with target() as there, dev(tmp_path / "route.yaml", tmp_path / "data") as running:
        second = orjson.loads(write_route(tmp_path, there.url).read_bytes())
        second["metadata"]["name"] = "second"
        (tmp_path / "route.yaml").write_bytes(first + b"\n---\n" + orjson.dumps(second))
        await eventually(logged(running, "route default/second: added"))
        path = MESSAGES.replace("first", "second")
        assert await post(running.ingest, there.url, "hello", path) == 202
        assert await there.got(1) == ["hello"]
        (tmp_path / "route.yaml").write_bytes(orjson.dumps(second))
        await eventually(logged(running, "route default/first: removed"))
        assert await post(running.ingest, there.url, "too late") == 404
        (ready,) = [each for each in running.log_lines() if each.get("event.action") == "ready"]
        _, page = await status_of(ready["chaski.console.url"])
        assert "default/second" in page
        assert "default/first" not in page


async def test_a_message_on_a_rung_that_is_gone_is_still_delivered(tmp_path: Path) -> None:
    """The rung's queue stays until it is empty."""
    retry = {"rungs": [{"name": "slow", "delaySeconds": 3}], "ladders": [{"class": "5xx", "rungs": ["slow"]}]}
    async with target() as there:
        there.status = 503
        async with dev(write_route(tmp_path, there.url, retry=retry), tmp_path / "data") as running:
            assert await post(running.ingest, there.url, "again") == 202
            await there.got(1)
            there.status = 200
            write_route(tmp_path, there.url)
            await eventually(logged(running, "changed (retry)"))
            assert await there.got(2) == ["again", "again"]


@pytest.mark.landing
@pytest.mark.promise(2)
@pytest.mark.promise(3)
async def test_a_hundred_reloads_under_load_lose_and_reorder_nothing(tmp_path: Path) -> None:
    """Also where queues and rungs change. Each of 40 subjects has its messages in order, each delivered once."""
    async with recording_target(lambda *_: (0.002, 200)) as there, aiohttp.ClientSession() as http:
        server = DevServer(tmp_path, route("busy", there.url))
        await server.start()
        try:
            sent: list[str] = []
            reloading = asyncio.create_task(_reload(tmp_path, there.url, 100))
            for number in itertools.count():
                lines = [
                    {"id": f"{subject}-{number}", "subject": f"s{subject}", "body": {"url": there.url, "content": ""}}
                    for subject in range(40)
                ]
                results = await send_batch(http, server.url, "t/busy", lines)
                assert {result["status"] for result in results} == {202}
                sent += [line["id"] for line in lines]  # type: ignore[misc]
                if reloading.done():
                    break
            await reloading
            await wait_until(lambda: len({seen.label for seen in there.seen}) >= len(sent), within=120)
            assert await server.stop() == 0
            assert server.log.read_text().count("route t/busy: changed") >= 90
            assert await dead_letters(server.data) == []
        finally:
            await server.end()
    assert sorted(seen.label for seen in there.seen) == sorted(sent)
    for subject, seens in itertools.groupby(
        sorted(there.seen, key=lambda seen: (seen.label.partition("-")[0], seen.at)),
        key=lambda seen: seen.label.partition("-")[0],
    ):
        numbers = [int(seen.label.partition("-")[2]) for seen in seens]
        assert numbers == sorted(numbers), subject


async def _reload(folder: Path, url: str, times: int) -> None:
    for number in range(1, times + 1):
        spec: dict[str, Any] = {"delivery": {"timeoutSeconds": 10 + number % 7, "concurrencyPerPod": 64}}
        if number % 10 == 0:
            spec["retry"] = {"rungs": [{"name": f"r{number}", "delaySeconds": 1}], "ladders": []}
        (folder / "route0.yaml").write_bytes(orjson.dumps(route("busy", url, **spec)))
        await asyncio.sleep(0.9)


async def test_without_a_file_there_is_a_route_and_a_target(tmp_path: Path) -> None:
    """One command, then one that sends; the console's address comes first. Ports that are in use are replaced."""
    ports = ("--metrics-port", "0", "--console-port", "0")
    process = await asyncio.create_subprocess_exec(
        CHASKI, "dev", "--data", tmp_path / "data", *ports, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        async with asyncio.timeout(START_SECONDS):
            while not lines or "ready on" not in lines[-1]:
                lines.append((await process.stdout.readline()).decode().strip())
        base = lines[-1].rpartition(" ")[2]
        names = [line.partition(" ")[0] for line in lines]
        assert names.index("console") < names.index("messages") < names.index("curl")
        sent = await chaski(
            "send", "--to", base, "--subject", "order-1", "--url", "http://127.0.0.1:9000/", "--json", '{"a": 1}'
        )
        assert sent.code == 0, sent.err
        async with asyncio.timeout(START_SECONDS):
            while "order-1 -> built-in: delivered" not in lines[-1]:
                lines.append((await process.stdout.readline()).decode().strip())
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0
    finally:
        await end(process)


async def test_the_usual_ports_are_replaced_if_they_are_in_use(tmp_path: Path) -> None:
    """A second `chaski dev` starts beside the first without a flag."""
    file = write_route(tmp_path, "http://127.0.0.1:9/")
    async with contextlib.AsyncExitStack() as stack:
        bases = []
        for name in ("one", "two"):
            process = await asyncio.create_subprocess_exec(
                CHASKI, "dev", file, "--data", tmp_path / name, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            stack.push_async_callback(end, process)
            assert process.stdout is not None
            async with asyncio.timeout(START_SECONDS):
                while "ready on" not in (line := (await process.stdout.readline()).decode()):
                    assert line
            bases.append(line.strip().rpartition(" ")[2])
        assert len(set(bases)) == 2
        for base in bases:
            assert (await status_of(f"{base}/readyz"))[0] == 200


async def test_listen_shows_each_request_and_responds_as_asked(tmp_path: Path) -> None:
    """As a line for people and as JSON for machines."""
    process = await asyncio.create_subprocess_exec(
        CHASKI, "listen", "--port", "0", "--status", "503", "--delay", "10ms", "--output", "json",
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = (await asyncio.wait_for(process.stderr.readline(), START_SECONDS)).decode()
        assert "responding with 503" in first
        url = next(word for word in first.split() if word.startswith("http")).rstrip(",")
        async with aiohttp.ClientSession() as http, http.put(f"{url}hook?x=1", data=b"text") as answer:
            assert answer.status == 503
        shown = orjson.loads(await asyncio.wait_for(process.stdout.readline(), START_SECONDS))
        assert (shown["method"], shown["path"], shown["body"], shown["status"]) == ("PUT", "/hook?x=1", "text", 503)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0
    finally:
        await end(process)
    wrong = await chaski("listen", "--delay", "soon", cwd=tmp_path)
    assert wrong.code == 2
    assert '--delay: "soon" is not a duration' in wrong.err
