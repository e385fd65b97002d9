"""A route whose allow rules have credentials, and a Pod that issues and checks them."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from support.cluster.cluster import Cluster
from support.cluster.pods import PRIVATE, TeamNamespace

ROUTE, AUDIENCE = "secured", "https://target.example"
_SECRET = "client"
_RENEWED_AFTER_SECONDS, _EXPIRED_AFTER_SECONDS = 480.0, 680.0
Request = tuple[int, int]  # attempt and status


@dataclass
class Stand:
    """A route whose rules have credentials, and their issuer, which is the target too."""

    team: TeamNamespace
    url: str
    secrets: list[str] = field(default_factory=list)

    def issuer(self, path: str) -> dict[str, Any]:
        """Its state, after a change of it."""
        whole = f"/api/v1/namespaces/{self.team.namespace}/pods/issuer:8080/proxy/{path}"
        state: dict[str, Any] = json.loads(self.team.cluster.kubectl("get", "--raw", whole))
        return state

    def rotate_client(self) -> str:
        """Gives the client of OAuth 2.0 another secret at the issuer; returns it."""
        secret = f"client/{os.urandom(12).hex()}+"
        self.issuer(f"set?secret={quote(secret, safe='')}")
        self.secrets.append(secret)
        return secret

    def store(self, secret: str) -> None:
        """Writes the Secret, which the kubelet brings to the Pods within a minute or so."""
        metadata = {"name": _SECRET, "namespace": self.team.namespace}
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

    def token(self) -> str:
        """The credential of the latest request."""
        return str(self.issuer("seen")["seen"][-1][1])

    def reviewed(self, token: str) -> str | None:
        """Whose token of a ServiceAccount it is, by the API server; None: of no account."""
        spec = {"token": token, "audiences": [AUDIENCE]}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        created = self.team.cluster.kubectl("create", "-o", "json", "-f", "-", document=review)
        status = json.loads(created)["status"]
        return str(status["user"]["username"]) if status.get("authenticated") else None

    def pods(self) -> list[str]:
        """Names of the workers."""
        found = self.team.cluster.get("pods", "-n", self.team.namespace, "-l", f"chaski.dev/route={ROUTE}")["items"]
        return sorted(each["metadata"]["name"] for each in found)

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


def make_stand(team: TeamNamespace) -> Stand:
    """A ready one."""
    made = Stand(team, team.serve("issuer", "issuer.py"))
    made.store(made.rotate_client())
    oauth2 = {"tokenURL": f"{made.url}/token", "secretName": _SECRET, "scopes": ["in"], "cidrs": PRIVATE}
    auths = {
        "oauth": {"oauth2": oauth2},
        "account": {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 600}},
    }
    rules = [
        {"name": name, "url": f"{made.url}/{name}/", "cidrs": PRIVATE, "auth": auth} for name, auth in auths.items()
    ]
    ladders = [{"class": "4xx", "retriesPerRung": 40, "rungs": ["soon"]}, {"class": "410", "rungs": []}]
    retry = {"rungs": [{"name": "soon", "delaySeconds": 3}], "ladders": ladders, "outcomes": []}
    plain = {"name": "plain", "url": f"{team.target}/", "cidrs": PRIVATE}
    team.route(ROUTE, targets={"allow": [*rules, plain]}, retry=retry, autoscaling={"minReplicas": 1, "maxReplicas": 1})
    team.cluster.ready(team.namespace, ROUTE)
    return made


@dataclass(frozen=True)
class Renewal:
    """A token of a ServiceAccount and its successor."""

    first: str
    renewed: str
    requests: list[Request]  # for the message that came with the renewed one
    of_first_before: str | None  # whose token the first one was at first
    of_first: str | None  # whose it is in the end, when it has expired
    of_renewed: str | None
    pods_before: list[str]
    pods_after: list[str]
    seconds: float  # from the first message to the first with a renewed token


def run_renewal(cluster: Cluster, namespace: str) -> Renewal:
    """Waits until the kubelet has renewed a token of ten minutes, the shortest that Kubernetes has, and until the first has expired.

    The kubelet renews after 80 % of the lifetime; the API server takes a token for one minute beyond its expiry.
    """
    on = make_stand(TeamNamespace(cluster, namespace))
    started = time.monotonic()
    on.sent("account/first")
    first, pods_before = on.token(), on.pods()
    of_first_before = on.reviewed(first)
    time.sleep(_RENEWED_AFTER_SECONDS)
    number = 0
    while (token := on.token()) == first and time.monotonic() - started < _EXPIRED_AFTER_SECONDS:
        time.sleep(10)
        number += 1
        requests = on.sent(f"account/later-{number}")
    seconds = time.monotonic() - started
    time.sleep(max(0.0, _EXPIRED_AFTER_SECONDS - seconds))
    of_first, of_renewed = on.reviewed(first), on.reviewed(token)
    return Renewal(first, token, requests, of_first_before, of_first, of_renewed, pods_before, on.pods(), seconds)
