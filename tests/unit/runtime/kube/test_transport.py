"""Both transports follow a Pod's token and CA, which are renewed on disk."""

from pathlib import Path

import pytest
from aiohttp import web

from chaski_runtime.kube.client import KubeApi, KubeUnavailableError
from chaski_runtime.kube.config import KubeAccess
from support.kube.certificates import make_all
from support.kube.fake_server import TRANSPORTS, TransportType, serving, tls


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
