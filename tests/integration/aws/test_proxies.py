"""Calls to AWS through an HTTP proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chaski_aws.http.endpoints import SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_core.errors import BackendUnavailableError
from support.aws.adapters import FixedCredentials


@asynccontextmanager
async def _proxy(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A fake proxy: its URL, and the request heads that it received."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://user:pass@127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    server.close()
    await server.wait_closed()


async def test_a_plain_call_is_forwarded_by_the_proxy() -> None:
    """The whole URL in the request line, the proxy's credentials, and the service's response."""
    async with _proxy(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}') as (url, heads):
        transport = AwsTransport(Endpoint(SQS, "http://sqs.test:8000", "us-east-1", proxy=url), FixedCredentials())
        assert await transport.call("ListQueues", {}) == {"a": 1}
        await transport.close()
    assert heads[0].startswith(b"POST http://sqs.test:8000/ HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in heads[0]
    assert b"\r\nHost: sqs.test:8000\r\n" in heads[0]


async def test_with_tls_the_proxy_only_opens_a_tunnel() -> None:
    """It gets a CONNECT with its own credentials, and nothing of the call."""
    async with _proxy(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as (url, heads):
        transport = AwsTransport(Endpoint(SQS, "https://sqs.test", "us-east-1", proxy=url), FixedCredentials())
        with pytest.raises(BackendUnavailableError):
            await transport.call("ListQueues", {})
        await transport.close()
    assert heads[0].startswith(b"CONNECT sqs.test:443 HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in heads[0]
    assert b"X-Amz-Target" not in heads[0]
