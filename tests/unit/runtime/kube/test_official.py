"""What only the official client's transport does, against a fake API server."""

import asyncio
import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from chaski_runtime.kube import official
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, KubeUnavailableError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.official import OfficialTransport
from support.kube.certificates import make_all, server_certificate
from support.kube.fake_server import exec_plugin, kubeconfig, runs, serving, tls


class Clock:
    """Unix seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def expiry(self, seconds: float) -> str:
        """A time in the future, as a plugin writes it."""
        return dt.datetime.fromtimestamp(self.now + seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def api_of(access: KubeAccess, clock: Clock | None = None) -> KubeApi:
    """A client with the official transport."""

    def transport(given: KubeAccess, agent: str) -> OfficialTransport:
        return OfficialTransport(given, agent, (lambda: clock.now)) if clock else OfficialTransport(given, agent)

    return KubeApi(access, user_agent="test", transport=transport)


async def echo(request: web.Request) -> web.Response:
    """Answers with the request's credentials."""
    groups = request.headers.getall("Impersonate-Group", [])
    seen = {name: request.headers.get(name) for name in ("Authorization", "Impersonate-User", "Host")}
    return web.json_response(seen | {"groups": groups})


async def test_a_plugin_runs_once_until_its_token_expires(tmp_path: Path) -> None:
    """Concurrent calls share one run; then the next token is sent."""
    clock = Clock()
    plugin = exec_plugin(tmp_path, {"token": "first", "expirationTimestamp": clock.expiry(900)})
    async with serving(echo) as url, api_of(kubeconfig(tmp_path, url, {"exec": plugin}), clock) as api:
        seen = await asyncio.gather(*(api.get("/x") for _ in range(5)))
        assert {each["Authorization"] for each in seen} == {"Bearer first"}
        exec_plugin(tmp_path, {"token": "second", "expirationTimestamp": clock.expiry(1800)})
        clock.now += 830
        assert (await api.get("/x"))["Authorization"] == "Bearer first"
        assert runs(tmp_path) == 1
        clock.now += 20
        assert (await api.get("/x"))["Authorization"] == "Bearer second"
        assert runs(tmp_path) == 2


async def test_a_refused_token_is_renewed(tmp_path: Path) -> None:
    """It may be revoked before it expires; but no API server makes the plugin run at each request."""
    clock = Clock()

    async def handler(request: web.Request) -> web.Response:
        valid = request.headers["Authorization"] == "Bearer new"
        return web.json_response({"reason": "Unauthorized", "message": "no"}, status=200 if valid else 401)

    plugin = exec_plugin(tmp_path, {"token": "old"})
    async with serving(handler) as url, api_of(kubeconfig(tmp_path, url, {"exec": plugin}), clock) as api:
        for _ in range(3):
            with pytest.raises(KubeRefusedError, match="Unauthorized"):
                await api.get("/x")
        assert runs(tmp_path) == 1
        exec_plugin(tmp_path, {"token": "new"})
        clock.now += 11
        with pytest.raises(KubeRefusedError, match="Unauthorized"):
            await api.get("/x")
        await api.get("/x")
        assert runs(tmp_path) == 2


async def test_a_plugin_that_hangs_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail after a time, and its late answer is used."""
    monkeypatch.setattr(official, "_LOAD_SECONDS", 0.2)
    plugin = exec_plugin(tmp_path, {"token": "late"})
    script = tmp_path / "plugin"
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    script.write_text(script.read_text().replace("cat ", f"{wait}\ncat ", 1))
    async with serving(echo) as url, api_of(kubeconfig(tmp_path, url, {"exec": plugin})) as api:
        for _ in range(2):
            with pytest.raises(KubeUnavailableError, match="did not answer within"):
                await api.get("/x")
        monkeypatch.setattr(official, "_LOAD_SECONDS", 10.0)
        (tmp_path / "go").touch()
        assert (await api.get("/x"))["Authorization"] == "Bearer late"
        assert runs(tmp_path) == 1


async def test_a_failing_plugin_is_tried_again(tmp_path: Path) -> None:
    """No request is sent without credentials."""
    plugin = exec_plugin(tmp_path, {"token": "t"}, exit_code=1)
    async with serving(echo) as url, api_of(kubeconfig(tmp_path, url, {"exec": plugin})) as api:
        with pytest.raises(KubeUnavailableError, match="not logged in"):
            await api.get("/x")
        exec_plugin(tmp_path, {"token": "t"})
        assert (await api.get("/x"))["Authorization"] == "Bearer t"


async def test_impersonation_is_sent(tmp_path: Path) -> None:
    """With each request, a header for each group."""
    async with serving(echo) as url:
        access = kubeconfig(tmp_path, url, {"token": "t", "as": "bob", "as-groups": ["a", "b"]})
        async with api_of(access) as api:
            seen = await api.get("/x")
    assert (seen["Authorization"], seen["Impersonate-User"], seen["groups"]) == ("Bearer t", "bob", ["a", "b"])


async def test_requests_go_through_the_proxy(tmp_path: Path) -> None:
    """The proxy of `proxy-url` resolves the server's name."""
    async with serving(echo) as proxy:
        access = kubeconfig(tmp_path, "http://api.invalid", {"token": "t"}, **{"proxy-url": proxy})
        async with api_of(access) as api:
            assert (await api.get("/x"))["Host"] == "api.invalid"


async def test_the_server_is_verified_by_its_own_name(tmp_path: Path) -> None:
    """`tls-server-name`: the address in `server` is not in its certificate."""
    make_all(tmp_path / "pki", "https://127.0.0.1")
    context = tls(*server_certificate(tmp_path / "pki", "api.internal"))
    authority = {"certificate-authority": "pki/ca.crt"}
    async with serving(echo, context) as url:
        async with api_of(kubeconfig(tmp_path, url, {}, **authority)) as api:
            with pytest.raises(KubeUnavailableError, match=r"127\.0\.0\.1"):
                await api.get("/x")
        named = authority | {"tls-server-name": "api.internal"}
        async with api_of(kubeconfig(tmp_path, url, {}, **named)) as api:
            await api.get("/x")


@pytest.mark.parametrize(
    "module", ["chaski_ingest.__main__", "chaski_worker.__main__", "chaski_console.process.routes"]
)
def test_only_processes_that_use_it_import_the_official_client(module: str) -> None:
    """The console does when it shows the routes of a cluster."""
    script = f"import sys, {module}; sys.exit('kubernetes' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
