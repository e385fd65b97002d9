"""The way into the console over HTTP: who may pass, and the pages for signing in and out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import web

from chaski_console.auth.authenticators import HEADERS, Authenticator, Forms, Identity, Refused
from chaski_console.auth.login import Cookie, PasswordAuthentication, own_path
from chaski_console.pages.layout import CurrentUser
from chaski_console.pages.login import again_page, login_page
from chaski_console.pages.message import wrong_page
from chaski_console.responses import html

VISITOR = web.RequestKey("visitor", Identity)
_MAX_NAME_CHARACTERS = 1_024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AuthMiddleware:
    """Lets in whom the door lets in, and says who they are."""

    door: Authenticator
    forms: Forms

    def add_routes(self, app: web.Application) -> None:
        """The pages for signing in and out, where that is how people show who they are."""
        if isinstance(self.door, PasswordAuthentication):
            app.router.add_get("/login", self._ask)
            app.router.add_post("/login", self._enter)
            app.router.add_post("/logout", self._leave)

    @web.middleware
    async def guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers nobody else; every answer has the headers that keep browsers safe."""
        visitor = self.door.visitor(request.headers)
        shown_to_all = request.path == "/login" or request.path.startswith("/static/")
        signing_in = isinstance(self.door, PasswordAuthentication) and shown_to_all
        if isinstance(visitor, Identity) or signing_in:
            request[VISITOR] = visitor if isinstance(visitor, Identity) else Identity()
            response = await handler(request)
        else:
            response = self._refused(request, visitor)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def still_in(self, request: web.Request) -> bool:
        """Whether who asked would be let in now: a session may have ended since."""
        return isinstance(self.door.visitor(request.headers), Identity)

    def who(self, request: web.Request) -> CurrentUser:
        """Who looks at a page."""
        visitor = request[VISITOR]
        return CurrentUser(visitor.user, self.forms.token(visitor) if visitor.session else "")

    def refusal(self, request: web.Request, token: str) -> Refused | None:
        """Why a form does nothing; None: it comes from a page of this visitor."""
        return self.forms.refusal(request[VISITOR], token, request.headers)

    def _refused(self, request: web.Request, refused: Refused) -> web.Response:
        if isinstance(self.door, PasswordAuthentication) and request.method == "GET" and request.path != "/live":
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                return html(again_page())
            query = urlencode({"next": own_path(request.path_qs)})
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": f"/login?{query}"})
        return html(wrong_page("Not for you", refused.reason), refused.status)

    async def _ask(self, request: web.Request) -> web.Response:
        onward = own_path(request.query.get("next", "/"))
        if request[VISITOR].session:
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": onward})
        return html(login_page(onward))

    async def _enter(self, request: web.Request) -> web.Response:
        assert isinstance(self.door, PasswordAuthentication)  # noqa: S101 - only then is there such a page
        form = await request.post()
        name, password, onward = (str(form.get(field, "")) for field in ("name", "password", "next"))
        onward = own_path(onward or "/")
        result = self.door.enter(name[:_MAX_NAME_CHARACTERS], password, request.headers, request.remote or "")
        if isinstance(result, Cookie):
            return _with(result, onward)
        response = html(login_page(onward, f"{result.reason[:1].upper()}{result.reason[1:]}.", name), result.status)
        if result.retry_after_seconds:
            response.headers["Retry-After"] = str(result.retry_after_seconds)
        return response

    async def _leave(self, request: web.Request) -> web.Response:
        assert isinstance(self.door, PasswordAuthentication)  # noqa: S101 - as above
        form = await request.post()
        refused = self.refusal(request, str(form.get("token", "")))
        if refused is not None:
            return html(wrong_page("Refused", refused.reason, self.who(request)), refused.status)
        return _with(self.door.leave(request.headers), "/login")


def _with(cookie: Cookie, onward: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": onward, "Set-Cookie": cookie.header})
