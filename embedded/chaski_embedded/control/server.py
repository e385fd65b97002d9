"""A door into a running owner of a data folder, for commands on the same machine that change what is stored.

Only one process may own the folder, so a command that sends or marks while `chaski dev` runs asks it to. The door is a
port on 127.0.0.1; where it is, and a secret that whoever asks must show, stand in a file of the folder that only the
owner of the folder can read. A door that is left from a killed process answers nobody, and the folder is free then.
"""

import asyncio
import base64
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from chaski_core.dead_letter import DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.errors import BackendError, BackendRejectedError
from chaski_core.ports import OutgoingMessage, Sent
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.store import EmbeddedDeadLetters

FILE_NAME = "control.json"
SECRET_HEADER = "Chaski-Secret"  # noqa: S105 - a name
MAX_REQUEST_BYTES = 8_388_608
_SECRET_BYTES = 32


class Control:
    """An open door."""

    def __init__(self, runner: web.AppRunner, file: Path) -> None:
        self._runner = runner
        self._file = file

    async def close(self) -> None:
        """Closes it, after what is under way has ended."""
        self._file.unlink(missing_ok=True)
        await self._runner.cleanup()


async def open_control(broker: EmbeddedBroker) -> Control:
    """Opens a door into a broker, and writes down where it is. `OSError`: it can't be opened."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    runner = web.AppRunner(_app(broker, secret), access_log=None, shutdown_timeout=10.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        file = broker.file.parent / FILE_NAME
        where = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/", "secret": secret}
        await asyncio.to_thread(_write, file, orjson.dumps(where))
    except OSError:
        await runner.cleanup()
        raise
    return Control(runner, file)


def _write(file: Path, data: bytes) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)


def _app(broker: EmbeddedBroker, secret: str) -> web.Application:
    door = _Door(broker, secret)
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post("/", door.answer)
    return app


class _Door:
    def __init__(self, broker: EmbeddedBroker, secret: str) -> None:
        self._broker = broker
        self._store = EmbeddedDeadLetters(broker)
        self._secret = secret.encode()

    async def answer(self, request: web.Request) -> web.Response:
        """Does one request: `{action, ...}`; answers `{result}` or `{error: {code, reason}}`."""
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), self._secret):
            return web.Response(status=403)
        try:
            result = await self._do(orjson.loads(await request.read()))
        except BackendRejectedError as error:
            return _json(409, {"error": {"code": error.code, "reason": error.reason}})
        except BackendError as error:
            return _json(503, {"error": {"code": "", "reason": str(error)}})
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            return _json(400, {"error": {"code": "MalformedInput", "reason": repr(error)}})
        return _json(200, {"result": result})

    async def _do(self, asked: Mapping[str, Any]) -> Any:
        if asked["action"] == "send":
            return await self._send(asked["url"], asked["messages"])
        if asked["action"] == "claim":
            wanted = [
                (DeadLetterKey(*key), None if mark is None else ReplayMark(*mark)) for key, mark in asked["wanted"]
            ]
            return [each.value for each in await self._store.claim(wanted, ReplayClaim(*asked["claim"]))]
        if asked["action"] == "mark":
            await self._store.mark([(DeadLetterKey(*key), ReplayMark(*mark)) for key, mark in asked["marks"]])
            return None
        if asked["action"] == "discard":
            await self._store.discard([DeadLetterKey(*key) for key in asked["keys"]])
            return None
        raise ValueError("no such action")

    async def _send(self, url: str, messages: Sequence[Sequence[str]]) -> list[list[Any]]:
        made = [OutgoingMessage(base64.b64decode(body), group, key) for body, group, key in messages]
        results = await self._broker.queue(url).send(made)
        return [
            [each.message_id, each.sequence_number]
            if isinstance(each, Sent)
            else [each.code, each.reason, each.sender_fault]
            for each in results
        ]


def _json(status: int, value: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
