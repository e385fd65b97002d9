"""The private parts of aiohttp that are used: these tests fail first where a release changes them."""

import ast
import asyncio
import tomllib
from importlib.metadata import version
from pathlib import Path

from aiohttp import TCPConnector, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpRequestParser, HttpResponseParser
from aiohttp.web_protocol import RequestHandler

from chaski_runtime.http.transport import Connector

ROOT = Path(__file__).resolve().parents[4]
CONNECTIONS = ROOT / "runtime/chaski_runtime/http/transport.py"
PROTOCOL = ROOT / "ingest/chaski_ingest/http/connection.py"

RESPONSE_HANDLER = {
    "_exception",
    "_loop",
    "_parser",
    "_payload",
    "_reading_paused",
    "_should_close",
    "_skip_payload",
    "_upgraded",
}
REQUEST_HANDLER = {
    "_buffer_paused",
    "_close",
    "_drain_helper",
    "_force_close",
    "_handler_waiter",
    "_keepalive_handle",
    "_keepalive_timeout",
    "_loop",
    "_manager",
    "_messages",
    "_msg_queue_resume_size",
    "_next_keepalive_close_time",
    "_parser",
    "_paused",
    "_process_keepalive",
    "_reading_paused",
    "_request_in_progress",
    "_resume_reading_if_drained",
    "_task_handler",
    "_waiter",
}
SERVER = {"_kwargs", "_loop"}


async def _handle(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


def _used(file: Path, class_name: str) -> set[str]:
    """Private attributes that a class uses and does not define: they are those of its base."""
    (found,) = (
        each
        for each in ast.walk(ast.parse(file.read_text()))
        if isinstance(each, ast.ClassDef) and each.name == class_name
    )
    of_itself = [
        each
        for each in ast.walk(found)
        if isinstance(each, ast.Attribute)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
        and each.attr.startswith("_")
        and not each.attr.startswith("__")
    ]
    (begin,) = (each for each in found.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
    defined = {each.name for each in found.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    defined |= {
        each.attr for each in ast.walk(begin) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
    }
    return {each.attr for each in of_itself} - defined


def _missing(thing: object, names: set[str]) -> set[str]:
    return {name for name in names if not hasattr(thing, name)}


async def test_a_clients_connection_has_the_used_attributes() -> None:
    """`ResponseHandler`, whose responses Chaski parses by hand."""
    used = RESPONSE_HANDLER | _used(CONNECTIONS, "HttpResponseHandler")
    assert _missing(ResponseHandler(asyncio.get_running_loop()), used) == set()


async def test_a_servers_connection_has_the_used_attributes() -> None:
    """`RequestHandler`, whose requests Chaski answers without a task for each."""
    server = web.Server(_handle)
    handler = server()
    assert _missing(handler, REQUEST_HANDLER | _used(PROTOCOL, "Connection")) == set()
    assert callable(HttpRequestParser.message_consumed)
    assert _missing(server, SERVER) == set()
    assert isinstance(handler, RequestHandler)
    assert callable(handler._process_keepalive)
    handler.close()


async def test_a_parser_returns_messages_bodies_and_the_rest() -> None:
    """And whether the connection is upgraded."""
    loop = asyncio.get_running_loop()
    parser = HttpResponseParser(ResponseHandler(loop), loop, 1_024, read_until_eof=True, auto_decompress=False)
    messages, upgraded, tail = parser.feed_data(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")
    ((message, payload),) = messages
    assert (message.code, message.reason, message.should_close, upgraded, tail) == (204, "No", True, False, b"")
    assert payload.is_eof()
    assert message.headers["connection"] == "close"


async def test_a_connector_makes_connections_by_its_factory() -> None:
    """Its `_factory` can be replaced."""
    plain, ours = TCPConnector(), Connector(max_response_bytes=1)
    try:
        assert callable(plain._factory)
        assert type(ours._factory()).__name__ == "HttpResponseHandler"
    finally:
        await plain.close()
        await ours.close()


def test_the_range_of_aiohttp_ends_before_the_next_release() -> None:
    """These tests must pass with a release before the range admits it."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (wanted,) = (each for each in dependencies if each.startswith("aiohttp"))
    assert wanted.endswith(",<3.15")
    assert version("aiohttp").startswith("3.14.")
