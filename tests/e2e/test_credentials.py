"""Credentials for targets in a cluster: OAuth 2.0 and tokens of ServiceAccounts, which expire, are revoked and rotated."""

import json
import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from support.cluster.cluster import Cluster
from support.cluster.pods import PRIVATE, TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ROUTE, SECRET, AUDIENCE = "secured", "client", "https://target.example"
Request = tuple[int, int]  # attempt and status


@dataclass
class Stand:
    """A route whose rules have credentials, and their issuer, which is the target too."""

    team: TeamNamespace
    url: str

    def issuer(self, path: str) -> dict[str, Any]:
        """Its state, after a change of it."""
        whole = f"/api/v1/namespaces/{self.team.namespace}/pods/issuer:8080/proxy/{path}"
        state: dict[str, Any] = json.loads(self.team.cluster.kubectl("get", "--raw", whole))
        return state

    def rotate_client(self) -> str:
        """Gives the client of OAuth 2.0 another secret at the issuer; returns it."""
        secret = f"client/{os.urandom(12).hex()}+"
        self.issuer(f"set?secret={quote(secret, safe='')}")
        return secret

    def store(self, secret: str) -> None:
        """Writes the Secret, which the kubelet brings to the Pods within a minute or so."""
        metadata = {"name": SECRET, "namespace": self.team.namespace}
        data = {"client-id": "client", "client-secret": secret}
        self.team.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def send(self, path: str) -> None:
        """A message of its own subject, without waiting."""
        self.team.begin_sending(ROUTE, [(path.replace("/", "-"), f"{self.url}/{path}", 0, 1)])

    def seen(self, path: str) -> list[Request]:
        """The requests for a message."""
        requests = self.issuer("seen")["seen"]
        return [(int(attempt), status) for at, _, attempt, status in requests if at == f"/{path}"]

    def delivered(self, path: str, seconds: float = 120) -> list[Request]:
        """The requests for a message, once the last one is answered 200."""

        def ended() -> list[Request] | None:
            found = self.seen(path)
            return found if found and found[-1][1] == 200 else None

        return self.team.cluster.until(f"the delivery of {path}", ended, seconds)

    def sent(self, path: str) -> list[Request]:
        """Sends a message; returns its requests."""
        self.send(path)
        return self.delivered(path)

    def log(self) -> list[dict[str, Any]]:
        """The workers' lines."""
        found = self.team.cluster.kubectl(
            "logs", "-n", self.team.namespace, "-l", f"chaski.dev/route={ROUTE}", "--tail=-1"
        )
        return [json.loads(line) for line in found.splitlines() if line.startswith("{")]

    def waiting(self, *words: str) -> None:
        """Waits until the route reports that messages wait for credentials, and the log has the words."""

        def reported() -> bool:
            conditions = {each["type"]: each for each in self.team.status(ROUTE)["conditions"]}
            shortage = conditions.get("Shortage", {})
            lines = [line for line in self.log() if line.get("event.action") == "shortage"]
            return shortage.get("status") == "True" and all(any(w in json.dumps(line) for line in lines) for w in words)

        self.team.cluster.until(f"a Shortage with {words}", reported, 120)


@pytest.fixture
def stand(team: TeamNamespace) -> Stand:
    """A ready one."""
    made = Stand(team, team.serve("issuer", "issuer.py"))
    made.store(made.rotate_client())
    oauth2 = {"tokenURL": f"{made.url}/token", "secretName": SECRET, "scopes": ["in"], "cidrs": PRIVATE}
    auths = {"oauth": {"oauth2": oauth2}, "account": {"serviceAccountToken": {"audience": AUDIENCE}}}
    rules = [
        {"name": name, "url": f"{made.url}/{name}/", "cidrs": PRIVATE, "auth": auth} for name, auth in auths.items()
    ]
    ladder = {"class": "4xx", "retriesPerRung": 30, "rungs": ["soon"]}
    retry = {"rungs": [{"name": "soon", "delaySeconds": 3}], "ladders": [ladder], "outcomes": []}
    plain = {"name": "plain", "url": f"{team.target}/", "cidrs": PRIVATE}
    team.route(ROUTE, targets={"allow": [*rules, plain]}, retry=retry, autoscaling={"minReplicas": 1, "maxReplicas": 1})
    team.cluster.ready(team.namespace, ROUTE)
    return made


def access_tokens(on: Stand) -> None:
    """Expired: another one is requested before. Revoked: once more within the attempt, which counts once."""
    on.issuer("set?lifetime=2")
    assert on.sent("oauth/first") == [(1, 200)]
    time.sleep(2)
    assert on.sent("oauth/expired") == [(1, 200)]
    on.issuer("set?lifetime=3600")
    time.sleep(2)
    assert on.sent("oauth/long") == [(1, 200)]
    on.issuer("set?lifetime=2")
    before = len(on.issuer("revoke")["issued"])
    assert on.sent("oauth/revoked") == [(1, 401), (1, 200)]
    assert len(on.issuer("seen")["issued"]) == before + 1


def endpoint_unavailable(on: Stand) -> None:
    """The rule's messages wait, in order and uncharged, and no others; the condition and the log name the endpoint."""
    on.issuer("set?available=0")
    time.sleep(2)
    on.send("oauth/waits")
    on.waiting("credentials", "answered 503")
    sender = on.team.begin_sending(ROUTE, [("plain", f"{on.team.target}/200", 0, 1)])
    assert on.team.sent(sender)["accepted"] == 1
    on.team.cluster.until("a message of another rule", lambda: "plain" in on.team.seen()["seen"], 60)
    assert on.seen("oauth/waits") == []
    on.issuer("set?available=1")
    assert on.delivered("oauth/waits") == [(1, 200)]


def client_rotated(on: Stand) -> None:
    """Until the workers have the new secret the endpoint refuses the client: messages wait, uncharged."""
    time.sleep(3)
    secret = on.rotate_client()
    on.send("oauth/rotated")
    on.waiting("invalid_client")
    on.store(secret)
    assert on.delivered("oauth/rotated", 180) == [(1, 200)]


def account_tokens(on: Stand) -> None:
    """The target gets a token of the workers' account for its audience, which the API server confirms."""
    cluster, namespace = on.team.cluster, on.team.namespace
    assert on.sent("account/first") == [(1, 200)]
    token = on.issuer("seen")["seen"][-1][1]
    assert reviewed(cluster, token) == f"system:serviceaccount:{namespace}:chaski-{ROUTE}"


def reviewed(cluster: Cluster, token: str) -> str | None:
    """Whose token it is, by the API server; None: of no account."""
    spec = {"token": token, "audiences": [AUDIENCE]}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    status = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", document=review))["status"]
    return str(status["user"]["username"]) if status.get("authenticated") else None


@pytest.mark.promise(4)
def test_credentials_are_renewed_and_awaited(stand: Stand) -> None:
    """Expired, revoked, the endpoint unavailable, the client rotated; and a token of the workers' account."""
    access_tokens(stand)
    endpoint_unavailable(stand)
    client_rotated(stand)
    account_tokens(stand)
