"""Producers of a cluster: their tokens, judged by a real API server's TokenReview, end to end over HTTP."""

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
from chaski_ingest.auth.access import Auth, authenticator_for
from chaski_ingest.http.server import IngestServer
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.process.clock import SystemClock
from support.kube.api_server import KubeApi
from support.until import until
from unit.ingest.fakes import Directory, FakeBackend, make_ingest, resolved

KEY = "a key of thirty-two random bytes"
MESSAGE = {"subject": "s", "body": {"url": "https://api.example/hooks/1"}}


class SlowClock(SystemClock):
    """An hour behind, so that only the API server sees that a token has expired."""

    def now_ms(self) -> int:
        """Wall clock."""
        return super().now_ms() - 3_600_000


class StillClock(SystemClock):
    """On which no time passes for what is remembered, however long the API server takes to end."""

    def monotonic(self) -> float:
        """Seconds."""
        return 0.0


def _route(namespace: str, name: str, *producers: Producer) -> ResolvedRoute:
    made = resolved()
    return replace(made, route=replace(made.route, namespace=namespace, name=name, producers=producers))


class Scene:
    """An ingest with two routes of a namespace: `ours` takes from ServiceAccount `channels` and one key."""

    def __init__(self, kube: KubeApi, namespace: str, port: int, client: aiohttp.ClientSession) -> None:
        self.kube = kube
        self.namespace = namespace
        self.metrics = Metrics()
        self.client = client
        self.port = port

    async def post(self, credential: str | None, route: str = "ours") -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and headers of the answer to one message."""
        headers = {"Authorization": f"Bearer {credential}"} if credential is not None else {}
        path = f"http://127.0.0.1:{self.port}/v1/routes/{self.namespace}/{route}/messages"
        async with self.client.post(path, json=MESSAGE, headers=headers) as answer:
            return answer.status, orjson.loads(await answer.read()), dict(answer.headers)


@asynccontextmanager
async def scene(kube: KubeApi, monkeypatch: pytest.MonkeyPatch, user: str, clock: SystemClock) -> AsyncIterator[Scene]:
    """Ingest as that user, who may or may not be allowed to ask for reviews."""
    namespace = kube.make_namespace()
    for account in ("channels", "other"):
        kube.kubectl("create", "serviceaccount", account, "-n", namespace)
    monkeypatch.setenv("KUBECONFIG", str(kube.user_kubeconfig(user)))
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    ours = _route(namespace, "ours", Producer(namespace, "channels"), Producer(None, None, (digest,)))
    theirs = _route(namespace, "theirs", Producer(namespace, "other"))
    async with AsyncExitStack() as stack:
        authenticator = await stack.enter_async_context(authenticator_for(Auth.KUBERNETES)(clock))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        made = Scene(kube, namespace, 0, client)
        ingest = make_ingest(
            FakeBackend(), routes=Directory(ours, theirs), metrics=made.metrics, authenticator=authenticator
        )
        server = IngestServer(ingest)
        made.port = await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.drain)
        yield made


@pytest.fixture
def reviewer(kube: KubeApi) -> str:
    """A user who may ask for TokenReviews and do nothing else, as the chart grants it."""
    if kube.try_kubectl("get", "clusterrole", "reviews").returncode:
        kube.try_kubectl("create", "clusterrole", "reviews", "--verb=create", "--resource=tokenreviews")
        kube.try_kubectl("create", "clusterrolebinding", "reviews", "--clusterrole=reviews", "--user=reviewer")
    return "reviewer"


def _expired(kube: KubeApi, token: str) -> str:
    """The same token, properly signed, whose time was over two minutes ago."""
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


async def test_each_producer_gets_its_own_answer(
    kube: KubeApi, reviewer: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong with it stands in the body, in the log and in the metric; nothing of a credential stands anywhere."""
    async with scene(kube, monkeypatch, reviewer, SlowClock()) as made:
        elsewhere = kube.make_namespace()
        kube.kubectl("create", "serviceaccount", "channels", "-n", elsewhere)
        kube.kubectl("create", "serviceaccount", "gone", "-n", made.namespace)
        good, gone = (kube.token(made.namespace, name, "chaski") for name in ("channels", "gone"))
        kube.kubectl("delete", "serviceaccount", "gone", "-n", made.namespace)
        header, payload, signature = good.split(".")
        table = [
            (good, "ours", 202, ""),
            (KEY, "ours", 202, ""),
            (None, "ours", 401, "says not who asks"),
            (_expired(kube, good), "ours", 401, "not valid"),
            (kube.token(made.namespace, "channels", "other"), "ours", 401, 'not for audience "chaski"'),
            (gone, "ours", 401, "not valid"),
            (f"{header}.{payload}.{signature[::-1]}", "ours", 401, "not valid"),
            ("a key that was revoked", "ours", 401, "no API key of this route"),
            (kube.token(made.namespace, "other", "chaski"), "ours", 403, "other may not send"),
            (kube.token(elsewhere, "channels", "chaski"), "ours", 403, f"{elsewhere}/channels may not send"),
            (good, "theirs", 403, f'may not send to route "{made.namespace}/theirs"'),
            (KEY, "theirs", 401, "no API key of this route"),
        ]
        for credential, route, status, told in table:
            answered, body, headers = await made.post(credential, route)
            assert (answered, told in body.get("detail", "")) == (status, True), (status, told, body)
            assert ("Www-Authenticate" in headers or "WWW-Authenticate" in headers) == (status == 401)
            assert credential is None or credential not in str(body)
        lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert any("other may not send" in record.getMessage() for record in lines)
        assert not any(part and part in caplog.text for part in (KEY, signature, payload))
        page = made.metrics.render().decode()
        for reason, count in (("unauthorized", 6), ("forbidden", 2)):
            labels = f'namespace="{made.namespace}",reason="{reason}",route="ours"'
            assert f"chaski_ingest_rejections_total{{{labels}}} {count}.0\n" in page


async def test_a_sound_token_is_asked_about_once(
    own_kube: KubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And where the API server is away, what is not remembered is answered 503: nobody is let in unseen."""
    del tmp_path
    own_kube.kubectl("create", "clusterrole", "reviews", "--verb=create", "--resource=tokenreviews")
    own_kube.kubectl("create", "clusterrolebinding", "reviews", "--clusterrole=reviews", "--user=reviewer")
    async with scene(own_kube, monkeypatch, "reviewer", StillClock()) as made:
        first, second = (own_kube.token(made.namespace, name, "chaski") for name in ("channels", "other"))
        for _ in range(5):
            assert (await made.post(first))[0] == 202
        await until(lambda: bool(own_kube.requests("reviewer")))  # the log is written after the answer
        assert len(own_kube.requests("reviewer")) == 1
        own_kube.down()
        assert (await made.post(first))[0] == 202  # for a minute
        status, body, headers = await made.post(second, "theirs")
        assert (status, body["type"], headers["Retry-After"]) == (503, "urn:chaski:problem:auth-away", "2")
        assert "127.0.0.1" not in str(body)
        assert (await made.post(KEY))[0] == 202  # needs no API server
        own_kube.up()
        assert (await made.post(second, "theirs"))[0] == 202


async def test_an_ingest_without_the_right_to_ask_lets_nobody_in(
    kube: KubeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503 to the producer; the log tells the SRE which right is missing."""
    async with scene(kube, monkeypatch, "nobody", SystemClock()) as made:
        status, body, _ = await made.post(kube.token(made.namespace, "channels", "chaski"))
    assert status == 503
    assert "tokenreviews" not in str(body)
    assert "tokenreviews.authentication.k8s.io is forbidden" in caplog.text
