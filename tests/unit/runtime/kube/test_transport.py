"""Both transports follow the files of an access: tokens, CAs, client certificates, kubeconfigs."""

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from chaski_runtime.kube.client import KubeApi, KubeUnavailableError
from chaski_runtime.kube.config import KubeAccess
from support.kube.certificates import make_all, user_kubeconfig
from support.kube.fake_server import TRANSPORTS, TransportType, kubeconfig, serving, tls


def replace(file: Path, content: str) -> None:
    """As a kubelet does: another file takes the name."""
    other = file.with_suffix(".new")
    other.write_text(content)
    other.replace(file)


@pytest.mark.promise(10)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_renewed_token_is_sent_at_once(tmp_path: Path, transport: TransportType) -> None:
    """With the next request; while the file can't be read, calls fail as if the API server were unavailable."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"token": request.headers["Authorization"]})

    file = tmp_path / "token"
    async with serving(handler) as url:
        access = KubeAccess(url, "default", token_file=file)
        async with KubeApi(access, user_agent="test", transport=transport) as api:
            with pytest.raises(KubeUnavailableError):
                await api.get("/x")
            replace(file, "first\n")
            assert await api.get("/x") == {"token": "Bearer first"}
            replace(file, "second\n")
            assert await api.get("/x") == {"token": "Bearer second"}


@pytest.mark.promise(10)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_renewed_authority_is_trusted_without_a_restart(tmp_path: Path, transport: TransportType) -> None:
    """First both are on disk, then the API server shows a certificate of the new one."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({})

    for name in ("old", "new"):
        make_all(tmp_path / name, "https://127.0.0.1", name)
    old, new = ((tmp_path / name / "ca.crt").read_text() for name in ("old", "new"))
    servers = [tls(tmp_path / name / "apiserver.crt", tmp_path / name / "apiserver.key") for name in ("old", "new")]
    file = tmp_path / "ca.crt"
    file.write_text(old)
    async with serving(handler, servers[0]) as url:
        api = KubeApi(KubeAccess(url, "default", ca_file=file), user_agent="test", transport=transport)
        await api.get("/x")
        replace(file, old + new)
    async with api, serving(handler, servers[1], port=int(url.rpartition(":")[2])):
        await api.get("/x")
        replace(file, old)
        with pytest.raises(KubeUnavailableError, match="certificate"):
            await api.get("/x")
        replace(file, new)
        await api.get("/x")


@pytest.mark.promise(10)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_renewed_client_certificate_is_used_for_new_connections(
    tmp_path: Path, transport: TransportType, caplog: pytest.LogCaptureFixture
) -> None:
    """While certificate and key do not match, the last pair is used, and the log says so once."""

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        subject = dict(part[0] for part in request.transport.get_extra_info("peercert")["subject"])
        return web.json_response({"user": subject["commonName"]})

    make_all(tmp_path / "pki", "https://127.0.0.1")
    for name in ("first", "second"):
        user_kubeconfig(tmp_path / "pki", "https://127.0.0.1", name)
    pairs = {
        name: [(tmp_path / "pki" / f"{name}.{end}").read_text() for end in ("crt", "key")]
        for name in ("first", "second")
    }
    server = tls(tmp_path / "pki" / "apiserver.crt", tmp_path / "pki" / "apiserver.key")
    server.load_verify_locations(tmp_path / "pki" / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    certificate, key = tmp_path / "client.crt", tmp_path / "client.key"
    certificate.write_text(pairs["first"][0])
    key.write_text(pairs["first"][1])
    async with serving(handler, server) as url:
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        access = kubeconfig(tmp_path, url, user, **{"certificate-authority": "pki/ca.crt"})
        async with KubeApi(access, user_agent="test", transport=transport) as api:
            assert await api.get("/x") == {"user": "first"}
            replace(certificate, pairs["second"][0])
            for _ in range(2):
                assert await api.get("/x") == {"user": "first"}
            replace(key, pairs["second"][1])
            assert await api.get("/x") == {"user": "second"}
    assert [each.levelname for each in caplog.records].count("ERROR") == 1
    assert "keeping the old ones: " in caplog.text


@pytest.mark.promise(10)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_changed_kubeconfig_is_used_at_once(tmp_path: Path, transport: TransportType) -> None:
    """Another token, another server; while the file is invalid, the last valid one."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"token": request.headers["Authorization"], "host": request.host})

    async with serving(handler) as first, serving(handler) as second:
        access = kubeconfig(tmp_path, first, {"token": "a"})
        async with KubeApi(access, user_agent="test", transport=transport) as api:
            assert await api.get("/x") == {"token": "Bearer a", "host": first.removeprefix("http://")}
            replace(tmp_path / "kubeconfig", "clusters: [")
            assert (await api.get("/x"))["token"] == "Bearer a"
            kubeconfig(tmp_path, second, {"token": "longer"})
            assert await api.get("/x") == {"token": "Bearer longer", "host": second.removeprefix("http://")}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_write_that_is_not_admitted_is_not_sent(transport: TransportType) -> None:
    """Reads are; the admission is asked for each write."""
    seen: list[str] = []
    admitted = True

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.json_response({})

    def admit() -> None:
        if not admitted:
            raise LookupError("not now")

    async with (
        serving(handler) as url,
        KubeApi(KubeAccess(url, "default"), user_agent="test", transport=transport) as api,
    ):
        guarded = api.variant(admit=admit)
        await guarded.create("/x", {})
        admitted = False
        for call in (guarded.create("/x", {}), guarded.apply("/x", {}, manager="m"), guarded.delete("/x")):
            with pytest.raises(LookupError):
                await call
        await guarded.get("/x")
        await api.replace("/x", {})
    assert seen == ["POST", "GET", "PUT"]


@pytest.mark.promise(7)
@pytest.mark.parametrize("asked", [2, 3])
@pytest.mark.parametrize("connection", ["new", "reused"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_write_whose_admission_ends_before_its_bytes_are_sent_is_not_sent(
    transport: TransportType, connection: str, asked: int
) -> None:
    """As if the process was paused while the request waited for a connection, or its body for the event loop."""
    received = bytearray()
    answers: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            received.extend(data)
            if data.endswith((b"\r\n\r\n", b"}")):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    def admit() -> None:
        if not answers.pop(0):
            raise LookupError("not now")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, KubeApi(KubeAccess(url, "default"), user_agent="test", transport=transport) as api:
        if connection == "reused":
            await api.get("/x")
        received.clear()
        answers += [True] * (asked - 1) + [False]
        with pytest.raises(LookupError):
            await api.variant(admit=admit).create("/x", {"a": 1})
        assert (bytes(received), answers) == (b"", [])
        answers += [True] * 3
        await api.variant(admit=admit).replace("/x", {"a": 1})
        assert (received.startswith(b"PUT /x"), answers) == (True, [])
