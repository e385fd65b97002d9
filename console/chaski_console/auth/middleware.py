"""Authentication over HTTP: the middleware, and the pages for logging in and out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import web

from chaski_console.auth.authenticators import SECURITY_HEADERS, AccessDenied, Authenticator, FormTokens, Identity
from chaski_console.auth.login import Cookie, PasswordAuthentication, local_path
from chaski_console.forms import read_form
from chaski_console.pages.layout import CurrentUser, error_page
from chaski_console.pages.login import LoginView, login_page, reload_page
from chaski_console.responses import html

IDENTITY = web.RequestKey("identity", Identity)
_MAX_NAME_CHARACTERS = 1_024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AuthMiddleware:
    """Denies requests that the authenticator does not accept, and serves the login pages."""

    authenticator: Authenticator
    form_tokens: FormTokens

    def add_routes(self, app: web.Application) -> None:
        """Adds the login pages if users authenticate by password."""
        if isinstance(self.authenticator, PasswordAuthentication):
            app.router.add_get("/login", self._login_form)
            app.router.add_post("/login", self._log_in)
            app.router.add_post("/logout", self._log_out)

    @web.middleware
    async def authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Sets `request[IDENTITY]` or denies the request; adds the security headers to every response."""
        identity = self.authenticator.authenticate(request.headers)
        is_public = request.path == "/login" or request.path.startswith("/static/")
        on_login_page = isinstance(self.authenticator, PasswordAuthentication) and is_public
        if isinstance(identity, Identity) or on_login_page:
            request[IDENTITY] = identity if isinstance(identity, Identity) else Identity()
            response = await handler(request)
        else:
            response = self._deny(request, identity)
        if not response.prepared:
            response.headers.update(SECURITY_HEADERS)
        return response

    def is_still_authenticated(self, request: web.Request) -> bool:
        """Whether the request would be accepted now: its session may have ended since."""
        return isinstance(self.authenticator.authenticate(request.headers), Identity)

    def current_user(self, request: web.Request) -> CurrentUser:
        """The user of a page."""
        identity = request[IDENTITY]
        return CurrentUser(identity.user, self.form_tokens.token(identity) if identity.session else "")

    def check_form(self, request: web.Request, token: str) -> AccessDenied | None:
        """None if the form comes from a page of this user, otherwise why it is denied."""
        return self.form_tokens.check(request[IDENTITY], token, request.headers)

    def _deny(self, request: web.Request, denied: AccessDenied) -> web.Response:
        has_login = isinstance(self.authenticator, PasswordAuthentication)
        if has_login and request.method == "GET" and request.path != "/live":
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                return html(reload_page())
            query = urlencode({"next": local_path(request.path_qs)})
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": f"/login?{query}"})
        return html(error_page("Access denied", denied.reason), denied.status)

    async def _login_form(self, request: web.Request) -> web.Response:
        next_path = local_path(request.query.get("next", "/"))
        if request[IDENTITY].session:
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": next_path})
        return html(login_page(LoginView(next_path)))

    async def _log_in(self, request: web.Request) -> web.Response:
        assert isinstance(self.authenticator, PasswordAuthentication)  # noqa: S101 - see add_routes
        form = await read_form(request)
        name, password, next_path = (form.get(field, "") for field in ("name", "password", "next"))
        next_path, name = local_path(next_path or "/"), name[:_MAX_NAME_CHARACTERS]
        result = await self.authenticator.log_in(name, password, request.headers, request.remote or "")
        if isinstance(result, Cookie):
            return _redirect(next_path, result)
        response = html(login_page(LoginView(next_path, result.reason, name)), result.status)
        if result.retry_after_seconds:
            response.headers["Retry-After"] = str(result.retry_after_seconds)
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        assert isinstance(self.authenticator, PasswordAuthentication)  # noqa: S101 - see add_routes
        form = await read_form(request)
        denied = self.check_form(request, form.get("token", ""))
        if denied is not None:
            return html(error_page("Access denied", denied.reason, self.current_user(request)), denied.status)
        return _redirect("/login", self.authenticator.log_out(request.headers))


def _redirect(path: str, cookie: Cookie) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path, "Set-Cookie": cookie.header})
