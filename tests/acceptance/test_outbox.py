"""The example with an outbox: a real PostgreSQL, a relay that is killed at the worst moments, a real `chaski dev`."""

import asyncio
import contextlib
import os
import random
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import psycopg
import pytest
from aiohttp import web

from acceptance.cli_process import Target, dev, target, write_route
from support.processes.postgres import postgres
from support.serving import served_app

pytestmark = [pytest.mark.landing, pytest.mark.timeout(300)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "outbox"
SUBJECTS, OF_EACH, KILLS = 8, 150, 12


@dataclass
class Relay:
    """The relay's process, started again after each kill, and the proxy between it and ingest, which kills it."""

    environment: dict[str, str]
    upstream: str
    random: random.Random
    kills: int = 0
    url: str = ""
    process: Process | None = None
    moments: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """Starts a process."""
        settings = self.environment | {"CHASKI_URL": self.url, "CHASKI_ROUTE": "default/first"}
        command = [sys.executable, str(EXAMPLE / "relay.py")]
        self.process = await asyncio.create_subprocess_exec(*command, env=os.environ | settings, stdout=DEVNULL)

    async def end(self) -> None:
        """Kills the process."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Passes a request on; kills the relay before ingest has it, or when it is accepted and the relay does not know yet."""
        body = await request.read()
        moment = self.random.choice(("before", "after", "never")) if self.kills < KILLS else "never"
        if moment == "before":
            await self._kill(moment)
            return web.Response(status=503)
        headers = {"Content-Type": request.headers["Content-Type"]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.upstream + request.path, data=body, headers=headers) as answer,
        ):
            text = await answer.read()
            if moment == "after":
                await self._kill(moment)
            return web.Response(status=answer.status, body=text, content_type=answer.content_type)

    async def _kill(self, moment: str) -> None:
        self.kills += 1
        self.moments.append(moment)
        await self.end()
        await self.start()


@contextlib.asynccontextmanager
async def relaying(ingest: str, database: str, seed: int) -> AsyncIterator[Relay]:
    """A running relay with its proxy."""
    relay = Relay({"DATABASE_URL": database}, ingest, random.Random(seed))
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", relay.handle)
    async with served_app(app) as relay.url:
        await relay.start()
        try:
            yield relay
        finally:
            await relay.end()


async def write(database: str, there: Target) -> None:
    """Commits transactions of all subjects, each with a row in the outbox; every seventh is rolled back."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("CREATE TABLE orders (subject text PRIMARY KEY, number integer NOT NULL)")
        await connection.commit()
        for number in range(SUBJECTS * OF_EACH):
            subject, url = f"order-{number % SUBJECTS}", f"{there.url}hook"
            content = orjson.dumps({"subject": subject, "number": number}).decode()
            await connection.execute(
                "INSERT INTO orders VALUES (%s, %s) ON CONFLICT (subject) DO UPDATE SET number = excluded.number",
                (subject, number),
            )
            await connection.execute(
                "INSERT INTO outbox (subject, url, content) VALUES (%s, %s, %s)", (subject, url, content)
            )
            await (connection.rollback() if number % 7 == 6 else connection.commit())
            await asyncio.sleep(0.002)


@pytest.mark.promise(2)
@pytest.mark.promise(3)
async def test_every_committed_row_is_delivered_once_and_in_order(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    """While the relay is killed before and after ingest accepts; what was rolled back is never sent; a wrong row is put aside."""
    seed = random.SystemRandom().randrange(2**32)
    with postgres() as database:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as reader:
            await reader.execute((EXAMPLE / "schema.sql").read_bytes())
            await reader.execute("INSERT INTO outbox (subject, url) VALUES ('order-0', 'ftp://wrong/')")
            async with (
                target() as there,
                dev(write_route(tmp_path, there.url), tmp_path / "data") as running,
                relaying(running.ingest, database, seed) as relay,
            ):
                await write(database, there)
                async with asyncio.timeout(120):
                    while await (await reader.execute("SELECT 1 FROM outbox LIMIT 1")).fetchone():
                        await asyncio.sleep(0.1)
                expected = [number for number in range(SUBJECTS * OF_EACH) if number % 7 != 6]
                bodies = [orjson.loads(body) for body in await there.got(len(expected))]
                await asyncio.sleep(1)
                assert len(there.bodies) == len(expected), f"seed {seed}: delivered twice"
                wrong = await (await reader.execute("SELECT url, status, reason FROM outbox_refused")).fetchall()
    delivered: dict[str, list[int]] = defaultdict(list)
    for body in bodies:
        delivered[body["subject"]].append(body["number"])
    assert sorted(number for numbers in delivered.values() for number in numbers) == expected, f"seed {seed}"
    assert all(numbers == sorted(numbers) for numbers in delivered.values()), f"seed {seed}"
    assert [(url, status) for url, status, _ in wrong] == [("ftp://wrong/", 400)]
    assert "body.url" in wrong[0][2]
    assert relay.kills > 1
    report(
        f"seed {seed}: {len(expected)} rows delivered once over {relay.kills} kills, {relay.moments.count('after')} after the 202"
    )
