"""botocore's chain with emulated credential services of a cluster on 127.0.0.1."""

import asyncio
import datetime as dt
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chaski_aws.http.credentials import CredentialChain
from support.serving import served_app

_STS_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKWEB{count}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>{ends}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


@dataclass
class CredentialServer:
    """A server that issues credentials and records its requests."""

    url: str = ""
    lifetime: dt.timedelta = dt.timedelta(hours=1)
    down: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)

    def _ends(self) -> str:
        return (dt.datetime.now(dt.UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def sts(self, request: web.Request) -> web.Response:
        """AssumeRoleWithWebIdentity."""
        self.asked.append(dict(await request.post()))
        if self.down:
            return web.Response(status=503)
        return web.Response(text=_STS_ANSWER.format(count=len(self.asked), ends=self._ends()), content_type="text/xml")

    async def container(self, request: web.Request) -> web.Response:
        """The response of the EKS Pod Identity agent."""
        self.asked.append({"Authorization": request.headers.get("Authorization", "")})
        keys = {"AccessKeyId": f"AKPOD{len(self.asked)}", "SecretAccessKey": "s", "Token": "t"}
        return web.json_response({**keys, "Expiration": self._ends()})


@pytest.fixture
async def credential_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[CredentialServer]:
    """A running server, and an environment without other credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    (tmp_path / "token").write_text("the-token")
    served = CredentialServer()
    app = web.Application()
    app.router.add_post("/", served.sts)
    app.router.add_get("/v1/credentials", served.container)
    async with served_app(app) as served.url:
        yield served


async def test_web_identity_of_a_service_account(
    credential_server: CredentialServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """IRSA: the mounted token becomes credentials; after a refusal new ones are requested, not read from a cache."""
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/chaski")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", credential_server.url)
    seconds = itertools.count(0, 100)
    chain = CredentialChain(monotonic=lambda: next(seconds))
    held = await chain.current()
    assert (held.access_key, credential_server.asked[0]["WebIdentityToken"]) == ("AKWEB1", "the-token")
    assert credential_server.asked[0]["RoleArn"] == "arn:aws:iam::123456789012:role/chaski"
    assert (await chain.replace(held)).access_key == "AKWEB2"
    await chain.close()


@pytest.mark.promise(10)
async def test_valid_credentials_are_used_while_sts_is_down(
    credential_server: CredentialServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Five minutes before their expiry, when botocore alone would fail every request."""
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/chaski")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", credential_server.url)
    credential_server.lifetime = dt.timedelta(minutes=5)
    seconds = itertools.count(0, 100)
    chain = CredentialChain(monotonic=lambda: next(seconds))
    held = await chain.current()
    credential_server.down = True
    async with asyncio.timeout(30):
        while not any(each.name == "chaski_aws.http.credentials" for each in caplog.records):
            assert await chain.current() == held
            await asyncio.sleep(0.01)
    assert await chain.current() == held
    await chain.close()


async def test_container_credentials_of_pod_identity(
    credential_server: CredentialServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """EKS Pod Identity: the agent is called with the mounted token."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{credential_server.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    chain = CredentialChain()
    assert (await chain.current()).access_key == "AKPOD1"
    assert credential_server.asked == [{"Authorization": "the-token"}]
    await chain.close()


async def test_profile(credential_server: CredentialServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys of a profile; a rewritten file is read once the old keys were refused."""
    assert credential_server.url
    file = tmp_path / "credentials"
    file.write_text("[there]\naws_access_key_id = AK1\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_PROFILE", "there")
    seconds = itertools.count(0, 100)
    chain = CredentialChain(monotonic=lambda: next(seconds))
    held = await chain.current()
    assert held.access_key == "AK1"
    file.write_text("[there]\naws_access_key_id = AK2\naws_secret_access_key = s\n")
    assert (await chain.replace(held)).access_key == "AK2"
    await chain.close()
