"""The console's HTTP application: its pages, and the actions of their forms."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web

from chaski_console.auth.authenticators import SECURITY_HEADERS
from chaski_console.auth.middleware import IDENTITY, AuthMiddleware, Handler
from chaski_console.data.live_updates import LiveUpdates
from chaski_console.data.search import InvalidSearchError, Search, read_search
from chaski_console.data.views import History, Sources
from chaski_console.forms import read_form
from chaski_console.pages.dead_letter import PageContext, dead_letter_page, discard_page
from chaski_console.pages.dead_letters import SearchResult, dead_letters_page
from chaski_console.pages.layout import CurrentUser, error_page
from chaski_console.pages.message import history_page
from chaski_console.pages.routes import element_values, routes_page, routes_view
from chaski_console.responses import html, static
from chaski_console.results import PARAMETER, ActionResults, list_of, own_page
from chaski_console.streams import ChangeStream, accepts_gzip
from chaski_core.dead_letter import DeadLetter
from chaski_core.errors import BackendError, BackendUnavailableError
from chaski_core.ports import Clock

PAGE_SIZE = 50
SEARCH_SECONDS = 5.0
MAX_SELECTED = 500
_MAX_FORM_BYTES = 262_144
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Console:
    """Handles the requests."""

    sources: Sources
    live: LiveUpdates
    auth: AuthMiddleware
    clock: Clock
    results: ActionResults = field(default_factory=ActionResults)

    def app(self) -> web.Application:
        """The application with its middlewares and routes."""
        app = web.Application(
            middlewares=[self.auth.authenticate, self._errors_as_pages], client_max_size=_MAX_FORM_BYTES
        )
        app.router.add_get("/", self._routes)
        app.router.add_get("/live", self._stream)
        app.router.add_get("/dead-letters", self._dead_letters)
        app.router.add_post("/dead-letters", self._act)
        app.router.add_get("/dead-letters/{id}", self._dead_letter)
        app.router.add_get("/messages", self._find)
        app.router.add_get("/messages/{id}", self._history)
        app.router.add_get("/static/{name}", static)
        self.auth.add_routes(app)
        app.cleanup_ctx.append(self._run_live_updates)
        return app

    async def _run_live_updates(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.live.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    @web.middleware
    async def _errors_as_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPSeeOther as redirect:
            return web.Response(status=redirect.status, headers={"Location": str(redirect.location)})
        except web.HTTPNotFound:
            return self._error(request, HTTPStatus.NOT_FOUND, f"The console has no page at {request.path}.")
        except web.HTTPException as error:
            return self._error(request, HTTPStatus(error.status), f"{request.method} {request.path}: {error.reason}.")
        except BackendError as error:
            return self._error(request, HTTPStatus.SERVICE_UNAVAILABLE, f"A queue or table is unavailable: {error}")

    # ---- pages

    async def _routes(self, request: web.Request) -> web.Response:
        return html(routes_page(await self.live.read_now(), self._user(request)))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        compressed = accepts_gzip(request.headers.get("Accept-Encoding", ""))
        encoding = {"Content-Encoding": "gzip"} if compressed else {}
        headers = {"Content-Type": "text/event-stream", "Vary": "Accept-Encoding", **encoding}
        response, changes = web.StreamResponse(headers=SECURITY_HEADERS | headers), ChangeStream(compressed=compressed)
        await response.prepare(request)
        async with aclosing(self.live.subscribe()) as updates:
            async for update in updates:
                if not self.auth.is_still_authenticated(request):
                    break
                view = routes_view(update)
                await response.write(changes.next(view.layout, element_values(view)))
        return response

    async def _dead_letters(self, request: web.Request) -> web.Response:
        routes = self.sources.routes.keys()
        try:
            search = read_search(request.query)
            result = await self._search(search)
        except InvalidSearchError as error:
            search, result = Search(), SearchResult([], error=str(error))
        return html(dead_letters_page(search, result, routes, self._context(request)))

    async def _dead_letter(self, request: web.Request) -> web.Response:
        dead_letters = await self.sources.dead_letters.get(request.match_info["id"])
        if not dead_letters:
            self._require_all_readable()
            return self._error(request, HTTPStatus.NOT_FOUND, "No dead letter has this ID.")
        return html(dead_letter_page(dead_letters, self._context(request)))

    async def _find(self, request: web.Request) -> web.Response:
        message_id = request.query.get("id", "").strip()
        raise web.HTTPSeeOther(f"/messages/{quote(message_id, safe='')}" if message_id else "/")

    async def _history(self, request: web.Request) -> web.Response:
        message_id = request.match_info["id"]
        dead_letters = await self.sources.dead_letters.get(message_id)
        histories = list(await self.sources.histories.histories(message_id))
        known = {history.message_id for history in histories}
        histories += [_history_of(each) for each in dead_letters if each.message_id not in known]
        if not histories:
            self._require_all_readable()
            message = "No message with this ID is known: it was never accepted, or it was delivered too long ago."
            return self._error(request, HTTPStatus.NOT_FOUND, message)
        dead = {each.message_id for each in dead_letters}
        return html(history_page(message_id, histories, dead, self._user(request)))

    # ---- actions

    async def _act(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        denied = self.auth.check_form(request, form.get("token", ""))
        if denied is not None:
            return html(error_page("Access denied", denied.reason, self._user(request)), denied.status)
        if self.sources.actions is None:
            return html(
                error_page("Access denied", "This console is read-only.", self._user(request)), HTTPStatus.FORBIDDEN
            )
        selected = list(dict.fromkeys(form.getall("id", [])))[:MAX_SELECTED]
        dead_letters = [each for value in selected for each in await self._selected(value)]
        back = own_page(form.get("back", ""))
        if not dead_letters:
            raise web.HTTPSeeOther(back)
        return await self._run_action(form, dead_letters, back, request)

    async def _selected(self, value: str) -> Sequence[DeadLetter]:
        """The dead letter of `<route> <identity>`; of an identity or a label alone, those of every route."""
        route, _, message_id = value.rpartition(" ")
        found = await self.sources.dead_letters.get(message_id, route or None)
        return [each for each in found if each.message_id == message_id] if route else found

    async def _run_action(
        self, form: Mapping[str, str], dead_letters: list[DeadLetter], back: str, request: web.Request
    ) -> web.Response:
        assert self.sources.actions is not None  # noqa: S101 - checked by the caller
        action = form.get("action")
        if action == "discard" and form.get("confirmed") != "yes":
            return html(discard_page(dead_letters, back, self._context(request)))
        if action not in ("replay", "discard"):
            return self._error(request, HTTPStatus.BAD_REQUEST, "The form names no known action.")
        run = self.sources.actions.replay if action == "replay" else self.sources.actions.discard
        try:
            summary = await run(dead_letters)
        except BackendError as error:
            _log_action(action, request[IDENTITY].user, dead_letters, error)
            raise
        _log_action(action, request[IDENTITY].user, dead_letters, summary)
        # A discarded dead letter has no page any more.
        raise web.HTTPSeeOther(self.results.address(list_of(back) if action == "discard" else back, summary))

    # ---- helpers

    async def _search(self, search: Search) -> SearchResult:
        wanted = search.filter(self.clock.now_ms())
        dead_letters: list[DeadLetter] = []
        skip = search.skipped
        try:
            async with asyncio.timeout(SEARCH_SECONDS), aclosing(self.sources.dead_letters.find(wanted)) as found:  # type: ignore[type-var]  # every store's is a generator
                async for each in found:
                    if skip and each.dead_lettered_at == search.page_start_ms:
                        skip -= 1
                        continue
                    if len(dead_letters) == PAGE_SIZE:
                        return SearchResult(dead_letters, more=True)
                    dead_letters.append(each)
        except TimeoutError:
            return SearchResult(dead_letters, timed_out=True)
        return SearchResult(dead_letters)

    def _require_all_readable(self) -> None:
        """Raises BackendUnavailableError if what was not found may be in a store that can't be read."""
        for route, reason in self.sources.unreadable().items():
            raise BackendUnavailableError(f"the dead letters of {route} can't be read now: {reason}")

    def _context(self, request: web.Request) -> PageContext:
        may_act = self.sources.actions is not None
        return PageContext(
            self._user(request),
            self.auth.form_tokens.token(request[IDENTITY]) if may_act else "",
            may_act,
            self.clock.now_ms(),
            self.sources.replay_command,
            self.sources.in_cluster,
            result=self.results.take(request.query.get(PARAMETER, "")),
            unreadable=tuple(f"{route}: {reason}" for route, reason in self.sources.unreadable().items()),
            stale_reason=self.sources.routes.stale_reason() or "",
        )

    def _user(self, request: web.Request) -> CurrentUser:
        return self.auth.current_user(request)

    def _error(self, request: web.Request, status: HTTPStatus, message: str) -> web.Response:
        return html(error_page(status.phrase.capitalize(), message, self._user(request)), status)


def _history_of(dead_letter: DeadLetter) -> History:
    """The history of a message of which only the dead letter is known."""
    message_id, label = dead_letter.message_id, dead_letter.id
    return History(message_id, label, dead_letter.subject, "dead-lettered", (), dead_letter.replay_of)


def _log_action(action: str, user: str, dead_letters: list[DeadLetter], result: str | BackendError) -> None:
    """Writes the audit line of an action. `result`: its summary, or why it failed."""
    failed = isinstance(result, BackendError)
    fields = {
        "event.action": action,
        "event.outcome": "failure" if failed else "success",
        "user.name": user,
        "chaski.message.ids": list(dict.fromkeys(each.message_id for each in dead_letters)),
    }
    if failed:
        fields["error.type"] = type(result).__name__
    outcome = f"failed: {result}" if failed else result
    by = user or "an unauthenticated user"
    _log.info("%s of %d dead letters by %s: %s", action, len(dead_letters), by, outcome, extra={"ecs": fields})
