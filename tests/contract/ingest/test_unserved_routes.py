"""What requests to routes that are not served reveal before and after authentication."""

import hashlib
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from chaski_ingest.auth.authenticators import Authenticator, NoAuthentication, ProducerAuthenticator
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.http.server import IngestServer
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.route_cache import KubeRoutes, _state_of
from support.clocks import StillClock
from unit.ingest.fakes import FakeBackend, make_ingest

KEY, SECRET = "a key of thirty-two random bytes", "http://svc:hunter2@payroll.internal/"
LINE = b'{"subject":"s","body":{"url":"https://api.example/"}}'
REFUSED = {"type": "Accepted", "status": "False", "observedGeneration": 1, "message": f'"{SECRET}" is not allowed'}


def route(**status: Any) -> dict[str, Any]:
    """The ChaskiRoute n/r with one producer."""
    return {
        "metadata": {"name": "r", "namespace": "n", "generation": 1},
        "spec": {
            "queues": [{"name": "messages"}],
            "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            "producers": [{"apiKeySha256": [hashlib.sha256(KEY.encode()).hexdigest()]}],
        },
        "status": status,
    }


def deleting() -> dict[str, Any]:
    """One that is being deleted."""
    document = route()
    document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return document


def invalid() -> dict[str, Any]:
    """One whose spec was stored before a rule refused it."""
    document = route(resolved={"generations": []})
    document["spec"]["targets"]["allow"][0]["url"] = SECRET
    return document


def changed() -> dict[str, Any]:
    """One that the operator has not reconciled since its change."""
    document = route(resolved={"observedGeneration": 1, "generations": []})
    document["metadata"]["generation"] = 2
    return document


class Responses:
    """Responses to one message to n/r, with the API key and without credentials."""

    def __init__(self, document: dict[str, Any] | None, authenticator: Authenticator) -> None:
        self._document = document
        self._authenticator = authenticator

    async def __call__(self, key: str | None) -> tuple[int, str]:
        """Status and body."""
        async with KubeApi(KubeAccess("http://127.0.0.1:1", "default"), user_agent="test") as api:
            routes = KubeRoutes(api, [], StillClock(), lambda: 0.0)
            for informer in routes._informers.values():
                informer.synced = True
            if self._document is not None:
                routes._changed(("n", "r"), _state_of(self._document))
            ingest = make_ingest(FakeBackend(), routes=routes, authenticator=self._authenticator)
            server = IngestServer(ingest)
            url = f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}/v1/routes/n/r/messages"
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
            async with (
                aiohttp.ClientSession() as client,
                client.post(url, data=LINE, headers=headers) as response,
            ):
                result = response.status, await response.text()
            await server.drain()
            return result


def keys() -> ProducerAuthenticator:
    """As `--auth keys`."""
    return ProducerAuthenticator(None, RateLimits(lambda: 0.0))


@pytest.mark.promise(14)
@pytest.mark.parametrize("authenticator", [keys, NoAuthentication], ids=["keys", "none"])
@pytest.mark.parametrize("key", [None, "another key", KEY], ids=["no-key", "another-key", "its-key"])
@pytest.mark.parametrize(
    "document", [route(conditions=[REFUSED]), invalid(), route(), deleting()], ids=["refused", "invalid", "new", "gone"]
)
async def test_a_route_that_takes_no_messages_is_answered_as_an_unknown_one(
    document: dict[str, Any], key: str | None, authenticator: Callable[[], Authenticator]
) -> None:
    """To the byte, with any credentials; so the operator's reasons, which quote the spec, are never shown."""
    unknown = await Responses(None, authenticator())(key)
    assert unknown[0] == 404
    assert await Responses(document, authenticator())(key) == unknown


async def test_only_a_producer_of_the_route_learns_that_it_is_served_soon() -> None:
    """Another client gets what it gets from a route that is served."""
    responses = Responses(changed(), keys())
    assert [(await responses(key))[0] for key in (None, "another key", KEY)] == [401, 401, 503]
    assert "has not reconciled it yet" in (await responses(KEY))[1]
