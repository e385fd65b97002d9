"""Authentication of producers by a real API server's TokenReview, end to end over HTTP."""

import base64
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from chaski_core.route.model import Producer
from chaski_core.route.resolved import ResolvedRoute
from chaski_ingest.auth.authenticators import AuthMode, authenticator_for
from chaski_ingest.auth.peers import alone
from chaski_ingest.http.server import IngestServer
from chaski_ingest.metrics import IngestMetrics
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process.clock import SystemClock
from support.kube.api_server import KubeApi
from support.until import until
from unit.ingest.fakes import Directory, FakeBackend, make_ingest, resolved

KEY = "a key of thirty-two random bytes"
MESSAGE = {"subject": "s", "body": {"url": "https://api.example/hooks/1"}}


class SlowClock(SystemClock):
    """One hour behind, so that only the API server detects an expired token."""

    def now_ms(self) -> int:
        """Wall clock."""
        return super().now_ms() - 3_600_000


class StillClock(SystemClock):
    """Never advances, so that cached results stay valid however long the API server takes to stop."""

    def monotonic(self) -> float:
        """Seconds."""
        return 0.0


def _route(namespace: str, name: str, *producers: Producer) -> ResolvedRoute:
    made = resolved()
    return replace(made, route=replace(made.route, namespace=namespace, name=name, producers=producers))


class Scene:
    """An ingest with two routes of a namespace: `ours` accepts ServiceAccount `channels` and one key."""

    def __init__(self, kube: KubeApi, namespace: str, port: int, client: aiohttp.ClientSession) -> None:
        self.kube = kube
        self.namespace = namespace
        self.metrics = MetricsRegistry()
        self.client = client
        self.port = port

    async def post(self, credential: str | None, route: str = "ours") -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and headers of the response to one message."""
        headers = {"Authorization": f"Bearer {credential}"} if credential is not None else {}
        path = f"http://127.0.0.1:{self.port}/v1/routes/{self.namespace}/{route}/messages"
        async with self.client.post(path, json=MESSAGE, headers=headers) as answer:
            return answer.status, orjson.loads(await answer.read()), dict(answer.headers)


@asynccontextmanager
async def scene(kube: KubeApi, monkeypatch: pytest.MonkeyPatch, user: str, clock: SystemClock) -> AsyncIterator[Scene]:
    """An ingest that runs as `user`, with or without the right to create reviews."""
    namespace = kube.make_namespace()
    for account in ("channels", "other"):
        kube.kubectl("create", "serviceaccount", account, "-n", namespace)
    monkeypatch.setenv("KUBECONFIG", str(kube.user_kubeconfig(user)))
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    ours = _route(namespace, "ours", Producer(namespace, "channels"), Producer(None, None, (digest,)))
    theirs = _route(namespace, "theirs", Producer(namespace, "other"))
    async with AsyncExitStack() as stack:
        authenticator = await stack.enter_async_context(authenticator_for(AuthMode.KUBERNETES)(clock, alone))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        made = Scene(kube, namespace, 0, client)
        ingest = make_ingest(
            FakeBackend(),
            routes=Directory(ours, theirs),
            metrics=IngestMetrics(made.metrics),
            authenticator=authenticator,
        )
        server = IngestServer(ingest)
        made.port = await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.drain)
        yield made


@pytest.fixture
def reviewer(kube: KubeApi) -> str:
    """A user whose only right is to create TokenReviews, as the chart grants it."""
    if kube.try_kubectl("get", "clusterrole", "reviews").returncode:
        kube.try_kubectl("create", "clusterrole", "reviews", "--verb=create", "--resource=tokenreviews")
        kube.try_kubectl("create", "clusterrolebinding", "reviews", "--clusterrole=reviews", "--user=reviewer")
    return "reviewer"


def _expired(kube: KubeApi, token: str) -> str:
    """The same token, properly signed, expired two minutes ago."""
    header, payload, _ = token.split(".")
    claims = orjson.loads(_bytes(payload))
    now = SystemClock().now_ms() // 1000
    claims |= {"iat": now - 900, "nbf": now - 900, "exp": now - 120}
    signed = f"{header}.{_text(orjson.dumps(claims))}"
    key = serialization.load_pem_private_key((kube.folder / "sa.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    parts = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_text(b''.join(part.to_bytes(32, 'big') for part in parts))}"


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _header(**changes: str) -> str:
    """The header of a token that names another key or algorithm."""
    header = {"alg": "RS256", "kid": "another"} | changes
    return base64.urlsafe_b64encode(orjson.dumps(header)).rstrip(b"=").decode()


async def test_each_producer_gets_its_own_response(
    kube: KubeApi, reviewer: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is in the response, in the log and in the metric; credentials are in none of them."""
    async with scene(kube, monkeypatch, reviewer, SlowClock()) as made:
        elsewhere = kube.make_namespace()
        kube.kubectl("create", "serviceaccount", "channels", "-n", elsewhere)
        kube.kubectl("create", "serviceaccount", "deleted", "-n", made.namespace)
        good, deleted = (kube.token(made.namespace, name, "chaski") for name in ("channels", "deleted"))
        kube.kubectl("delete", "serviceaccount", "deleted", "-n", made.namespace)
        header, payload, signature = good.split(".")
        table = [
            (good, "ours", 202, ""),
            (KEY, "ours", 202, ""),
            (None, "ours", 401, "missing credentials"),
            (_expired(kube, good), "ours", 401, "not valid"),
            (kube.token(made.namespace, "channels", "other"), "ours", 401, 'not for audience "chaski"'),
            (deleted, "ours", 401, "not valid"),
            (f"{header}.{payload}.{signature[::-1]}", "ours", 401, "not valid"),
            (f"{_header(kid='../../etc/passwd')}.{payload}.{signature}", "ours", 401, "not valid"),
            (f"{_header(alg='HS256')}.{payload}.{signature}", "ours", 401, "not valid"),
            (f"{_header(alg='none')}.{payload}.", "ours", 401, "neither an API key of this route nor"),
            ("a key that was revoked", "ours", 401, "API key of this route"),
            (kube.token(made.namespace, "other", "chaski"), "ours", 403, "other is not listed in spec.producers"),
            (kube.token(elsewhere, "channels", "chaski"), "ours", 403, f"{elsewhere}/channels is not listed"),
            (good, "theirs", 403, f'spec.producers of route "{made.namespace}/theirs"'),
            (KEY, "theirs", 401, "API key of this route"),
        ]
        for credential, route, status, part in table:
            answered, body, headers = await made.post(credential, route)
            assert (answered, part in body.get("detail", "")) == (status, True), (status, part, body)
            assert ("Www-Authenticate" in headers or "WWW-Authenticate" in headers) == (status == 401)
            assert credential is None or credential not in str(body)
        lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert any("other is not listed" in record.getMessage() for record in lines)
        assert not any(part and part in caplog.text for part in (KEY, signature, payload))
        page = made.metrics.render().decode()
        for reason, count in (("unauthorized", 9), ("forbidden", 2)):
            labels = f'namespace="{made.namespace}",reason="{reason}",route="ours"'
            assert f"chaski_ingest_rejections_total{{{labels}}} {count}.0\n" in page


async def test_a_valid_token_is_reviewed_once(
    own_kube: KubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And while the API server is unavailable, tokens that are not cached get 503."""
    del tmp_path
    own_kube.kubectl("create", "clusterrole", "reviews", "--verb=create", "--resource=tokenreviews")
    own_kube.kubectl("create", "clusterrolebinding", "reviews", "--clusterrole=reviews", "--user=reviewer")
    async with scene(own_kube, monkeypatch, "reviewer", StillClock()) as made:
        first, second = (own_kube.token(made.namespace, name, "chaski") for name in ("channels", "other"))
        for _ in range(5):
            assert (await made.post(first))[0] == 202
        await until(lambda: bool(own_kube.requests("reviewer")))  # the audit log is written after the response
        assert len(own_kube.requests("reviewer")) == 1
        own_kube.down()
        assert (await made.post(first))[0] == 202  # for a minute
        status, body, headers = await made.post(second, "theirs")
        assert (status, body["type"], headers["Retry-After"]) == (503, "urn:chaski:problem:auth-away", "2")
        assert "127.0.0.1" not in str(body)
        assert (await made.post(KEY))[0] == 202  # needs no API server
        own_kube.up()
        assert (await made.post(second, "theirs"))[0] == 202


async def test_an_ingest_without_the_right_to_review_admits_no_token(
    kube: KubeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The producer gets 503; the log names the missing right."""
    async with scene(kube, monkeypatch, "nobody", SystemClock()) as made:
        status, body, _ = await made.post(kube.token(made.namespace, "channels", "chaski"))
    assert status == 503
    assert "tokenreviews" not in str(body)
    assert "tokenreviews.authentication.k8s.io is forbidden" in caplog.text
