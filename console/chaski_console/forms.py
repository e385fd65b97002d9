"""Forms that browsers send."""

from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict

_CONTENT_TYPE = "application/x-www-form-urlencoded"
_MAX_FIELDS = 1_000  # the list of dead letters sends one for each of its rows


async def read_form(request: web.Request) -> MultiDict[str]:
    """The fields of a form of one of the pages.

    Only what their forms send is accepted: files, compressed bodies and other encodings would be read before the user is
    authenticated, by parsers that no page needs (`web.Request.post`).

    Raises:
        HTTPUnsupportedMediaType: the body is of another type, or is compressed.
        HTTPBadRequest: the body is not a form, or has too many fields.
        HTTPRequestEntityTooLarge: the body is longer than `client_max_size` of the application.
    """
    if request.content_type != _CONTENT_TYPE or "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType
    body = await request.read()
    try:
        return MultiDict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise web.HTTPBadRequest from error
