"""The console over HTTP."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web

from chaski_console.auth.authenticators import HEADERS
from chaski_console.auth.middleware import VISITOR, AuthMiddleware, Handler
from chaski_console.data.live_updates import Live
from chaski_console.data.search import Search, WrongSearchError, read_search
from chaski_console.data.views import History, Sources
from chaski_console.pages import dead_letters as letter_pages
from chaski_console.pages.dead_letters import Found, Reader
from chaski_console.pages.layout import CurrentUser
from chaski_console.pages.message import history_page, wrong_page
from chaski_console.pages.routes import routes_page, shape, updates
from chaski_console.responses import html, static
from chaski_core.dead_letter import DeadLetter
from chaski_core.errors import BackendError, BackendUnavailableError
from chaski_core.ports import Clock

PAGE = 50
SEARCH_SECONDS = 5.0
MAX_SELECTED = 500
_MAX_FORM_BYTES = 262_144
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Console:
    """The console's pages."""

    sources: Sources
    live: Live
    entrance: AuthMiddleware
    clock: Clock

    def app(self) -> web.Application:
        """What answers requests."""
        app = web.Application(middlewares=[self.entrance.guarded, self._answered], client_max_size=_MAX_FORM_BYTES)
        app.router.add_get("/", self._routes)
        app.router.add_get("/live", self._stream)
        app.router.add_get("/dead-letters", self._letters)
        app.router.add_post("/dead-letters", self._act)
        app.router.add_get("/dead-letters/{id}", self._letter)
        app.router.add_get("/messages", self._find)
        app.router.add_get("/messages/{id}", self._history)
        app.router.add_get("/static/{name}", static)
        self.entrance.add_routes(app)
        app.cleanup_ctx.append(self._reading)
        return app

    async def _reading(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.live.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    @web.middleware
    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPSeeOther as elsewhere:
            return web.Response(status=elsewhere.status, headers={"Location": str(elsewhere.location)})
        except web.HTTPException as error:
            sentence = f"{request.method} {request.path} is not to be had here."
            return html(wrong_page(error.reason, sentence, self._who(request)), HTTPStatus(error.status))
        except BackendError as error:
            sentence = f"What the console reads from is away: {error}"
            return html(wrong_page("Away", sentence, self._who(request)), HTTPStatus.SERVICE_UNAVAILABLE)

    # ---- pages

    async def _routes(self, request: web.Request) -> web.Response:
        return html(routes_page(await self.live.reading(), self._who(request)))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with aclosing(self.live.readings()) as readings:
            async for reading in readings:
                if not self.entrance.still_in(request):
                    break
                change = json.dumps({"shape": shape(reading), "values": updates(reading)})
                await response.write(f"data: {change}\n\n".encode())
        return response

    async def _letters(self, request: web.Request) -> web.Response:
        routes = self.sources.board.keys()
        try:
            search = read_search(request.query)
            found = await self._search(search)
        except WrongSearchError as error:
            search, found = Search(), Found([], fault=str(error))
        return html(letter_pages.letters_page(search, found, routes, self._reader(request)))

    async def _letter(self, request: web.Request) -> web.Response:
        letters = await self.sources.letters.get(request.match_info["id"])
        if not letters:
            self._must_know_all()
            return html(
                wrong_page("Not found", "There is no dead letter of this id.", self._who(request)), HTTPStatus.NOT_FOUND
            )
        return html(letter_pages.letter_page(letters, self._reader(request)))

    async def _find(self, request: web.Request) -> web.Response:
        message_id = request.query.get("id", "").strip()
        raise web.HTTPSeeOther(f"/messages/{quote(message_id, safe='')}" if message_id else "/")

    async def _history(self, request: web.Request) -> web.Response:
        message_id = request.match_info["id"]
        letters = await self.sources.letters.get(message_id)
        histories = list(await self.sources.histories.histories(message_id))
        known = {history.message_id for history in histories}
        histories += [_history_of(letter) for letter in letters if letter.message_id not in known]
        if not histories:
            self._must_know_all()
            sentence = (
                "Nothing is known of a message of this id: it was never accepted, or it was delivered too long ago."
            )
            return html(wrong_page("Not found", sentence, self._who(request)), HTTPStatus.NOT_FOUND)
        dead = {letter.message_id for letter in letters}
        return html(history_page(message_id, histories, dead, self._who(request)))

    # ---- actions

    async def _act(self, request: web.Request) -> web.Response:
        form, who = await request.post(), self._who(request)
        values = {name: value for name, value in form.items() if isinstance(value, str)}
        refused = self.entrance.refusal(request, values.get("token", ""))
        if refused is not None:
            return html(wrong_page("Refused", refused.reason, who), refused.status)
        if self.sources.actions is None:
            return html(wrong_page("Refused", "This console only shows.", who), HTTPStatus.FORBIDDEN)
        picked = [str(value) for value in dict.fromkeys(form.getall("id", []))][:MAX_SELECTED]
        letters = [letter for each in picked for letter in await self._picked(each)]
        back = values.get("back", "")
        back = back if back.startswith("/dead-letters") else "/dead-letters"
        if not letters:
            raise web.HTTPSeeOther(back)
        return await self._do(values, letters, back, request)

    async def _picked(self, said: str) -> Sequence[DeadLetter]:
        """The dead letter of `<route> <identity>`, or every one of an identity or a label wherever it is."""
        route, _, message_id = said.rpartition(" ")
        found = await self.sources.letters.get(message_id, route or None)
        return [letter for letter in found if letter.message_id == message_id] if route else found

    async def _do(
        self, values: dict[str, str], letters: list[DeadLetter], back: str, request: web.Request
    ) -> web.Response:
        assert self.sources.actions is not None  # noqa: S101 - judged by the caller
        reader, action = self._reader(request), values.get("action")
        if action == "discard" and values.get("confirmed") != "yes":
            return html(letter_pages.confirm_page(letters, back, reader))
        if action not in ("replay", "discard"):
            return html(wrong_page("Refused", "There is no such action.", reader.who), HTTPStatus.BAD_REQUEST)
        act = self.sources.actions.replay if action == "replay" else self.sources.actions.discard
        try:
            done = await act(letters)
        except BackendError as error:
            _tell(action, request[VISITOR].user, letters, error)
            raise
        _tell(action, request[VISITOR].user, letters, done)
        routes = self.sources.board.keys()
        search = read_search({})
        found = await self._search(search)
        return html(letter_pages.letters_page(search, found, routes, replace(self._reader(request), done=done)))

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

    def _must_know_all(self) -> None:
        """Raises BackendUnavailableError where something that is not found may only be out of reach."""
        for route, reason in self.sources.missing().items():
            raise BackendUnavailableError(f"dead letters of {route} can't be read now: {reason}")

    def _reader(self, request: web.Request) -> Reader:
        may_act = self.sources.actions is not None
        token = self.entrance.forms.token(request[VISITOR]) if may_act else ""
        return Reader(
            self._who(request),
            token,
            may_act,
            self.clock.now_ms(),
            self.sources.command,
            self.sources.in_cluster,
            missing=tuple(f"{route}: {reason}" for route, reason in self.sources.missing().items()),
            trouble=self.sources.board.trouble() or "",
        )

    def _who(self, request: web.Request) -> CurrentUser:
        return self.entrance.who(request)


def _history_of(letter: DeadLetter) -> History:
    """What a dead letter alone says of its message."""
    return History(letter.message_id, letter.id, letter.subject, "dead-lettered", (), letter.replay_of)


def _tell(action: str, user: str, letters: list[DeadLetter], result: str | BackendError) -> None:
    """The line that says who did what to which dead letters."""
    failed = isinstance(result, BackendError)
    fields = {
        "event.action": action,
        "event.outcome": "failure" if failed else "success",
        "user.name": user,
        "chaski.message.ids": list(dict.fromkeys(letter.message_id for letter in letters)),
    }
    if failed:
        fields["error.type"] = type(result).__name__
    sentence = f"failed: {result}" if failed else result
    _log.info(
        "%s of %d dead letters by %s: %s", action, len(letters), user or "somebody", sentence, extra={"ecs": fields}
    )
