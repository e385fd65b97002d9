"""The control API of a process that owns a data folder, for commands on the same machine that change stored data.

Only one process may own the folder, so a command that sends or marks while `chaski dev` runs asks that process to do it.
The API is HTTP on a UNIX socket (`address.py`), so the file system decides who may use it: the folder's owner. The socket
of a killed process refuses connections, and the next owner replaces it.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from chaski_core.dead_letter import DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.errors import BackendError, BackendRejectedError
from chaski_core.ports import OutgoingMessage, Sent, VisibilityChange
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.address import SocketAddress, make_control_folder
from chaski_embedded.store import EmbeddedControlRecords, EmbeddedDeadLetters
from chaski_runtime.process.http_server import start_sites

MAX_REQUEST_BYTES = 8_388_608


class ControlServer:
    """A running control API."""

    def __init__(self, runner: web.AppRunner, address: SocketAddress) -> None:
        self._runner = runner
        self._address = address

    async def close(self) -> None:
        """Stops the server after its pending requests."""
        self._address.unlink()
        await self._runner.cleanup()
        self._address.close()


async def start_control_server(broker: EmbeddedBroker) -> ControlServer:
    """Serves the control API of a broker. `OSError`: the socket can't be made."""
    folder = broker.file.parent
    await asyncio.to_thread(make_control_folder, folder)
    address = SocketAddress(folder)
    runner = web.AppRunner(_app(broker), access_log=None, shutdown_timeout=10.0)
    try:
        address.unlink()
        await start_sites(runner, lambda: [web.UnixSite(runner, address.path)])
    except OSError:
        address.close()
        raise
    return ControlServer(runner, address)


def _app(broker: EmbeddedBroker) -> web.Application:
    handler = _Handler(broker)
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post("/", handler.handle)
    return app


class _Handler:
    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._store = EmbeddedDeadLetters(broker)
        self._controls = EmbeddedControlRecords(broker)

    async def handle(self, request: web.Request) -> web.Response:
        """Handles a request `{action, ...}` with a response `{result}` or `{error: {code, reason}}`."""
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
        return await self._control(command)

    async def _control(self, command: Mapping[str, Any]) -> Any:
        """The commands about subjects."""
        if command["action"] == "change-visibility":
            changes = [VisibilityChange(*each) for each in command["changes"]]
            results = await self._broker.queue(command["url"]).change_visibility(changes)
            return [None if each is None else [each.code, each.reason, each.sender_fault] for each in results]
        route, subject, action, *rest = command.get("record", ("", "", ""))
        if command["action"] == "write-control":
            await self._controls.write(ControlRecord(route, subject, ControlAction(action), *rest))
            return None
        if command["action"] == "remove-control":
            await self._controls.remove(ControlRecord(route, subject, ControlAction(action), *rest))
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
