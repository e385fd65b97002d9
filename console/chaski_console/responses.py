"""Pages and static files as HTTP responses."""

from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from chaski_console.pages.rendering import Html

_STATIC = Path(__file__).with_name("static")
_CONTENT_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def html(page: Html, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """A response with a page."""
    body = page.encode("utf-8", "backslashreplace")
    return web.Response(status=status, body=body, content_type="text/html", charset="utf-8")


async def static(request: web.Request) -> web.Response:
    """Serves a file of the folder `static`."""
    file = _STATIC / request.match_info["name"]
    if file.parent != _STATIC or file.suffix not in _CONTENT_TYPES or not file.is_file():
        raise web.HTTPNotFound
    return web.Response(body=file.read_bytes(), content_type=_CONTENT_TYPES[file.suffix], charset="utf-8")
