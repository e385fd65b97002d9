"""The control API of a process that owns a data folder, for commands on the same machine that change stored data.

Only one process may own the folder, so a command that sends or marks while `chaski dev` runs asks that process to do it.
The API is a port on 127.0.0.1; its URL and the secret that clients must send are in a file of the folder that only the
folder's owner can read. The file of a killed process names a port that does not answer; the folder is not locked then.
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


class ControlServer:
    """A running control API."""

    def __init__(self, runner: web.AppRunner, file: Path) -> None:
        self._runner = runner
        self._file = file

    async def close(self) -> None:
        """Stops the server after its pending requests."""
        self._file.unlink(missing_ok=True)
        await self._runner.cleanup()


async def start_control_server(broker: EmbeddedBroker) -> ControlServer:
    """Serves the control API of a broker and writes its URL to the folder. `OSError`: no port or file can be opened."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    runner = web.AppRunner(_app(broker, secret), access_log=None, shutdown_timeout=10.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        file = broker.file.parent / FILE_NAME
        location = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/", "secret": secret}
        await asyncio.to_thread(_write, file, orjson.dumps(location))
    except OSError:
        await runner.cleanup()
        raise
    return ControlServer(runner, file)


def _write(file: Path, data: bytes) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)


def _app(broker: EmbeddedBroker, secret: str) -> web.Application:
    handler = _Handler(broker, secret)
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post("/", handler.handle)
    return app


class _Handler:
    def __init__(self, broker: EmbeddedBroker, secret: str) -> None:
        self._broker = broker
        self._store = EmbeddedDeadLetters(broker)
        self._secret = secret.encode()

    async def handle(self, request: web.Request) -> web.Response:
        """Handles a request `{action, ...}` with a response `{result}` or `{error: {code, reason}}`."""
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), self._secret):
            return web.Response(status=403)
        try:
            result = await self._execute(orjson.loads(await request.read()))
        except BackendRejectedError as error:
            return _json(409, {"error": {"code": error.code, "reason": error.reason}})
        except BackendError as error:
            return _json(503, {"error": {"code": "", "reason": str(error)}})
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            return _json(400, {"error": {"code": "MalformedInput", "reason": repr(error)}})
        return _json(200, {"result": result})

    async def _execute(self, command: Mapping[str, Any]) -> Any:
        if command["action"] == "send":
            return await self._send(command["url"], command["messages"])
        if command["action"] == "claim":
            wanted = [
                (DeadLetterKey(*key), None if mark is None else ReplayMark(*mark)) for key, mark in command["wanted"]
            ]
            return [each.value for each in await self._store.claim(wanted, ReplayClaim(*command["claim"]))]
        if command["action"] == "mark":
            await self._store.mark([(DeadLetterKey(*key), ReplayMark(*mark)) for key, mark in command["marks"]])
            return None
        if command["action"] == "discard":
            await self._store.discard([DeadLetterKey(*key) for key in command["keys"]])
            return None
        raise ValueError("no such action")

    async def _send(self, url: str, messages: Sequence[Sequence[str]]) -> list[list[Any]]:
        outgoing = [OutgoingMessage(base64.b64decode(body), group, key) for body, group, key in messages]
        results = await self._broker.queue(url).send(outgoing)
        return [
            [each.message_id, each.sequence_number]
            if isinstance(each, Sent)
            else [each.code, each.reason, each.sender_fault]
            for each in results
        ]


def _json(status: int, value: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
