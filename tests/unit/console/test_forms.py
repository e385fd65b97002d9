"""What the console accepts as a form, before it knows the user."""

import gzip
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp
import pytest

from chaski_console import server
from unit.console.fakes import FakeActions, FakeSources, FixedClock

TYPE = "application/x-www-form-urlencoded"
MULTIPART = b'--b\r\nContent-Disposition: form-data; name="token"\r\nContent-Encoding: gzip\r\n\r\nxx\r\n--b--\r\n'


@pytest.fixture
async def base() -> AsyncIterator[str]:
    """The address of a running console."""
    running = await server.start("127.0.0.1", 0, FakeSources(actions=FakeActions()).sources, FixedClock())
    yield f"http://127.0.0.1:{running.port}"
    await running.close()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"token=x", {"Content-Type": TYPE}, HTTPStatus.FORBIDDEN),  # read, and denied for its token
        (b"token=x", {"Content-Type": f"{TYPE}; charset=none"}, HTTPStatus.FORBIDDEN),
        (MULTIPART, {"Content-Type": "multipart/form-data; boundary=b"}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        (b"{}", {"Content-Type": "application/json"}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        (
            gzip.compress(b"token=" + b"x" * 100_000),
            {"Content-Type": TYPE, "Content-Encoding": "gzip"},
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        ),
        (b"token=\xff", {"Content-Type": TYPE}, HTTPStatus.BAD_REQUEST),
        (b"&".join([b"id=x"] * 1_001), {"Content-Type": TYPE}, HTTPStatus.BAD_REQUEST),
        (b"x" * 300_000, {"Content-Type": TYPE}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ],
    ids=["form", "charset", "multipart", "json", "compressed", "not-utf-8", "fields", "long"],
)
async def test_only_forms_of_the_pages_are_read(
    base: str, body: bytes, headers: dict[str, str], status: HTTPStatus
) -> None:
    """Everything else is an error page, never a traceback."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}/dead-letters", data=body, headers=headers) as response,
    ):
        assert response.status == status
        assert "<h1>" in await response.text()
