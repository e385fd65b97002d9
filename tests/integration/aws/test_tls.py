"""Calls over TLS: the service's certificate is checked, against the system's authorities or `AWS_CA_BUNDLE`."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaski_aws.http.endpoints import SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_core.errors import BackendUnavailableError
from support.aws.adapters import FixedCredentials
from support.faults.proxy import as_http


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same folder."""
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=sqs", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "crt.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "crt.pem"


@pytest.fixture
async def url(certificate: Path) -> AsyncIterator[str]:
    """A service that responds to every request with an empty document, over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(as_http(200, {"Connection": "close"}, b"{}"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_authority_of_the_bundle_is_trusted(url: str, certificate: Path) -> None:
    """A private endpoint, or an inspecting proxy."""
    transport = AwsTransport(Endpoint(SQS, url, "us-east-1", ca_bundle=str(certificate)), FixedCredentials())
    assert await transport.call("ListQueues", {}) == {}
    await transport.close()


async def test_unknown_authority_is_refused(url: str) -> None:
    """Nothing is sent to another server, and it is an outage: certificates can be fixed."""
    results: list[str] = []
    transport = AwsTransport(
        Endpoint(SQS, url, "us-east-1"),
        FixedCredentials(),
        chance=lambda: 0.0,
        on_request=lambda _, result: results.append(result),
    )
    with pytest.raises(BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        await transport.call("ListQueues", {})
    assert set(results) == {"connection"}
    await transport.close()
