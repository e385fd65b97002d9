"""The private parts of aiohttp that are used: these tests fail first where a release changes them."""

import ast
import tomllib
from importlib.metadata import version
from pathlib import Path

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import RequestHandler

ROOT = Path(__file__).resolve().parents[4]
PROTOCOL = ROOT / "ingest/chaski_ingest/http/connection.py"

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


def test_the_range_of_aiohttp_ends_before_the_next_release() -> None:
    """These tests must pass with a release before the range admits it."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (wanted,) = (each for each in dependencies if each.startswith("aiohttp"))
    assert wanted.endswith(",<3.15")
    assert version("aiohttp").startswith("3.14.")
