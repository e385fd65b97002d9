"""The console over HTTP."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from chaski_console.html import Markup
from chaski_console.live import Live
from chaski_console.pages import letters as letter_pages
from chaski_console.pages.letters import Found, Reader
from chaski_console.pages.message import history_page, wrong_page
from chaski_console.pages.routes import routes_page, shape, updates
from chaski_console.search import Search, WrongSearchError, read_search
from chaski_console.security import HEADERS, Doorkeeper, Refused
from chaski_console.views import History, Sources
from chaski_core.deadletter import DeadLetter
from chaski_core.errors import BackendError
from chaski_core.ports import Clock

PAGE = 50
SEARCH_SECONDS = 5.0
MAX_SELECTED = 500
_MAX_FORM_BYTES = 262_144
_STATIC = Path(__file__).with_name("static")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_USER = web.RequestKey("user", str)
_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Console:
    """The console's pages."""

    sources: Sources
    live: Live
    doorkeeper: Doorkeeper
    clock: Clock

    def app(self) -> web.Application:
        """What answers requests."""
        app = web.Application(middlewares=[self._guarded], client_max_size=_MAX_FORM_BYTES)
        app.router.add_get("/", self._routes)
        app.router.add_get("/live", self._stream)
        app.router.add_get("/dead-letters", self._letters)
        app.router.add_post("/dead-letters", self._act)
        app.router.add_get("/dead-letters/{id}", self._letter)
        app.router.add_get("/messages", self._find)
        app.router.add_get("/messages/{id}", self._history)
        app.router.add_get("/static/{name}", _static)
        app.cleanup_ctx.append(self._reading)
        return app

    async def _reading(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.live.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        user = self.doorkeeper.user(request.headers)
        if isinstance(user, Refused):
            response: web.StreamResponse = _html(wrong_page("Not for you", user.reason), user.status)
        else:
            request[_USER] = user
            response = await _answered(request, handler, user)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    # ---- pages

    async def _routes(self, request: web.Request) -> web.Response:
        return _html(routes_page(await self.live.reading(), request[_USER]))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with aclosing(self.live.readings()) as readings:
            async for reading in readings:
                change = json.dumps({"shape": shape(reading), "values": updates(reading)})
                await response.write(f"data: {change}\n\n".encode())
        return response

    async def _letters(self, request: web.Request) -> web.Response:
        routes = [view.key for view in await self.sources.board.routes()]
        try:
            search = read_search(request.query)
            found = await self._search(search)
        except WrongSearchError as error:
            search, found = Search(), Found([], fault=str(error))
        return _html(letter_pages.letters_page(search, found, routes, self._reader(request)))

    async def _letter(self, request: web.Request) -> web.Response:
        letters = await self.sources.letters.get(request.match_info["id"])
        if not letters:
            return _html(
                wrong_page("Not found", "There is no dead letter of this id.", request[_USER]), HTTPStatus.NOT_FOUND
            )
        return _html(letter_pages.letter_page(letters, self._reader(request)))

    async def _find(self, request: web.Request) -> web.Response:
        message_id = request.query.get("id", "").strip()
        raise web.HTTPSeeOther(f"/messages/{quote(message_id, safe='')}" if message_id else "/")

    async def _history(self, request: web.Request) -> web.Response:
        message_id = request.match_info["id"]
        letters = await self.sources.letters.get(message_id)
        history = await self.sources.histories.history(message_id)
        if history is None and letters:
            history = History(message_id, letters[-1].subject, "dead-lettered", ())
        if history is None:
            sentence = (
                "Nothing is known of a message of this id: it was never accepted, or it was delivered too long ago."
            )
            return _html(wrong_page("Not found", sentence, request[_USER]), HTTPStatus.NOT_FOUND)
        return _html(history_page(history, letters, request[_USER]))

    # ---- actions

    async def _act(self, request: web.Request) -> web.Response:
        form, user = await request.post(), request[_USER]
        values = {name: value for name, value in form.items() if isinstance(value, str)}
        refused = self.doorkeeper.may_act(user, values.get("token", ""), request.headers)
        if refused is not None:
            return _html(wrong_page("Refused", refused.reason, user), refused.status)
        if self.sources.actions is None:
            return _html(wrong_page("Refused", "This console only shows.", user), HTTPStatus.FORBIDDEN)
        ids = [str(value) for value in dict.fromkeys(form.getall("id", []))][:MAX_SELECTED]
        letters = [letter for message_id in ids for letter in await self.sources.letters.get(message_id)]
        back = values.get("back", "")
        back = back if back.startswith("/dead-letters") else "/dead-letters"
        if not letters:
            raise web.HTTPSeeOther(back)
        return await self._do(values, letters, back, request)

    async def _do(
        self, values: dict[str, str], letters: list[DeadLetter], back: str, request: web.Request
    ) -> web.Response:
        assert self.sources.actions is not None  # noqa: S101 - judged by the caller
        reader, action = self._reader(request), values.get("action")
        if action == "discard" and values.get("confirmed") != "yes":
            return _html(letter_pages.confirm_page(letters, back, reader))
        if action == "replay":
            done = await self.sources.actions.replay(letters)
        elif action == "discard":
            done = await self.sources.actions.discard(letters)
        else:
            return _html(wrong_page("Refused", "There is no such action.", reader.user), HTTPStatus.BAD_REQUEST)
        _log.info("%s by %s: %s", action, reader.user or "somebody", done)
        routes = [view.key for view in await self.sources.board.routes()]
        search = read_search({})
        reader = replace(reader, done=done)
        return _html(letter_pages.letters_page(search, await self._search(search), routes, reader))

    # ---- what they need

    async def _search(self, search: Search) -> Found:
        wanted = search.filter(self.clock.now_ms())
        letters: list[DeadLetter] = []
        skip = search.skipped
        try:
            async with asyncio.timeout(SEARCH_SECONDS), aclosing(self.sources.letters.find(wanted)) as found:  # type: ignore[type-var]  # every store's is a generator
                async for letter in found:
                    if skip and letter.dead_lettered_at == search.begin:
                        skip -= 1
                        continue
                    if len(letters) == PAGE:
                        return Found(letters, more=True)
                    letters.append(letter)
        except TimeoutError:
            return Found(letters, cut=True)
        return Found(letters)

    def _reader(self, request: web.Request) -> Reader:
        user = request[_USER]
        may_act = self.sources.actions is not None
        token = self.doorkeeper.token(user) if may_act else ""
        return Reader(user, token, may_act, self.clock.now_ms(), self.sources.command)


async def _answered(request: web.Request, handler: Handler, user: str) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPSeeOther as elsewhere:
        return web.Response(status=elsewhere.status, headers={"Location": str(elsewhere.location)})
    except web.HTTPException as error:
        return _html(
            wrong_page(error.reason, f"{request.method} {request.path} is not to be had here.", user),
            HTTPStatus(error.status),
        )
    except BackendError as error:
        return _html(
            wrong_page("Away", f"What the console reads from is away: {error}", user), HTTPStatus.SERVICE_UNAVAILABLE
        )


def _html(page: Markup, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    body = page.encode("utf-8", "backslashreplace")
    return web.Response(status=status, body=body, content_type="text/html", charset="utf-8")


async def _static(request: web.Request) -> web.Response:
    file = _STATIC / request.match_info["name"]
    if file.parent != _STATIC or file.suffix not in _TYPES or not file.is_file():
        raise web.HTTPNotFound
    return web.Response(body=file.read_bytes(), content_type=_TYPES[file.suffix], charset="utf-8")
