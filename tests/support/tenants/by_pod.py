"""Actions of Pods: requests at ingest, and messages that a route's own workers deliver."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.cluster.pods import PRODUCER
from support.tenants.action import Action, Kind, Means, by_bob_or_mallory
from support.tenants.scene import CONCURRENCY, KEY, ROUTE, SHARED, Scene, Tenant, post

ACCEPTED = "202"
MANY, LINES = 40, "application/x-ndjson"
_LARGE, _HALVED = 17 * 1024 * 1024, 1024 * 1024


def message(subject: str, **body: Any) -> dict[str, Any]:
    """A message to a target that no route allows; what counts is whether ingest accepts it."""
    return {"subject": subject, "body": {"url": "https://unused.example/", **body}}


def _to_bob(text: str, refusal: str, token: Callable[[Scene, Tenant], str | None], kind: Kind = Kind.SEND) -> Action:
    """A message to Bob's route with some credential."""

    def act(scene: Scene, tenant: Tenant) -> str:
        given = tenant.token() if tenant is scene.bob else token(scene, tenant)
        (result,) = tenant.ask_ingest(post(scene.bob.namespace, ROUTE, message("s"), given))
        return result

    return by_bob_or_mallory(kind, Means.POD, text, refusal, ACCEPTED, act)


def _path(text: str, path: str, refusal: str) -> Action:
    """A message to Bob's route by a path that begins with the sender's own."""

    def attempt(scene: Scene) -> str:
        mallory = scene.mallory
        request = post(mallory.namespace, ROUTE, message("s"), mallory.token())
        request["path"] = scene.filled(path)
        return mallory.ask_ingest(request)[0]

    def control(scene: Scene) -> str:
        return scene.mallory.ask_ingest(post(scene.mallory.namespace, ROUTE, message("s"), scene.mallory.token()))[0]

    return Action(Kind.SEND, Means.POD, text, refusal, attempt, "Mallory, by the plain path", ACCEPTED, control)


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _as_bobs(scene: Scene, token: str) -> dict[str, Any]:
    """The claims of a token, with Bob's producer in place of Mallory's."""
    claims = _claims(token)
    return {
        **claims,
        "sub": f"system:serviceaccount:{scene.bob.namespace}:{PRODUCER}",
        "kubernetes.io": {**claims["kubernetes.io"], "namespace": scene.bob.namespace},
    }


def _unsigned(scene: Scene, mallory: Tenant) -> str:
    return f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{_encoded(_as_bobs(scene, mallory.token()))}."


def _altered(scene: Scene, mallory: Tenant) -> str:
    token = mallory.token()
    head, _, signature = token.split(".")
    return f"{head}.{_encoded(_as_bobs(scene, token))}.{signature}"


def _key_action(scene: Scene, tenant: Tenant) -> str:
    """Bob has the key. Mallory has its hash, which each reader of the route has."""
    given = KEY if tenant is scene.bob else hashlib.sha256(KEY.encode()).hexdigest()
    return tenant.ask_ingest(post(scene.bob.namespace, ROUTE, message("s"), given))[0]


def _subject(scene: Scene, tenant: Tenant) -> str:
    """A subject that Mallory's patterns in Bob's route do not match."""
    return tenant.ask_ingest(post(scene.bob.namespace, SHARED, message("bob-1"), tenant.token()))[0]


def _batch_subject(scene: Scene, tenant: Tenant) -> str:
    time.sleep(2)  # the message before is charged to the producer's rate, although it is refused
    request = post(scene.bob.namespace, SHARED, json.dumps(message("bob-2")), tenant.token())
    request["path"] += ":batch"
    request["headers"]["Content-Type"] = LINES
    return tenant.ask_ingest(request)[0]


def _rate(scene: Scene, tenant: Tenant) -> str:
    """Many messages one after the other, of a subject that both may send; then whether Bob's is accepted."""
    subject = "mallory-1" if tenant is scene.mallory else "bob-3"
    found = tenant.ask_ingest(post(scene.bob.namespace, SHARED, message(subject), tenant.token(), repeat=MANY))[0]
    after = scene.bob.ask_ingest(post(scene.bob.namespace, SHARED, message("bob-3"), scene.bob.token()))[0]
    return f"{found}; then Bob: {after}"


def _large(scene: Scene, tenant: Tenant) -> str:
    """A batch beyond the limit of ingest's memory for one request; Bob sends a small one."""
    own = scene.mallory is tenant
    request = post(tenant.namespace, ROUTE, json.dumps(message("s")), tenant.token(), pad=_LARGE if own else 0)
    request["path"] += ":batch"
    request["headers"]["Content-Type"] = LINES
    return tenant.ask_ingest(request)[0]


def _header(text: str, name: str) -> Action:
    """A header by which a target would take a message for something else."""

    def act(header: str) -> Callable[[Scene], str]:
        def send(scene: Scene) -> str:
            body = message("s", headers={header: "forged"})
            return scene.mallory.ask_ingest(post(scene.mallory.namespace, ROUTE, body, scene.mallory.token()))[0]

        return send

    return Action(Kind.FORGE, Means.POD, text, "400 invalid", act(name), "Mallory, as `X-Own`", ACCEPTED, act("X-Own"))


def _delivery(text: str, refusal: str, label: str, url: str) -> Action:
    """A message to Bob's target that Mallory's own worker is to deliver."""

    def attempt(scene: Scene) -> str:
        return scene.mallory.outcome(label, scene.filled(url), scene.bob.team)

    def control(scene: Scene) -> str:
        return scene.bob.outcome(f"{label}-own", scene.filled(BOBS_TARGET))

    return Action(Kind.SEND, Means.WORKER, text, refusal, attempt, "Bob", "delivered", control)


def _held(scene: Scene, number: int) -> str:
    """Mallory's Pod holds back the second halves of batches; whether Bob's messages are accepted meanwhile."""
    held = post(scene.mallory.namespace, ROUTE, "", scene.mallory.token(), pad=_HALVED, held=number)
    held["path"] += ":batch"
    held["headers"]["Content-Type"] = LINES
    token = scene.bob.token()
    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(scene.mallory.ask_ingest, held)
        seen = set()
        while not holding.done():
            seen.update(scene.bob.ask_ingest(post(scene.bob.namespace, ROUTE, message("s"), token)))
        return f"{holding.result()[0]}; Bob: {', '.join(sorted(seen))}"


def _slow_target(scene: Scene, tenant: Tenant) -> str:
    """As many messages as a worker attempts at a time get no response; whether other messages wait.

    A host that does not respond has two of four slots, for the time of a whole attempt from their start on.
    """
    mallory = scene.mallory

    def attempted() -> int:
        made: int = mallory.team.seen()["requests"].get("timeout", 0)
        return made

    before, url, token = attempted(), f"{mallory.team.target}/timeout", mallory.token()
    messages = [message(f"slow-{before + n}", url=url) for n in range(CONCURRENCY)]
    mallory.ask_ingest(*(post(mallory.namespace, ROUTE, each, token) for each in messages))
    scene.cluster.until("attempts that get no response", lambda: attempted() >= before + CONCURRENCY // 2, 60)
    try:
        return tenant.outcome(f"beside-{tenant.namespace}", f"{tenant.team.target}/200", seconds=5)
    except AssertionError:
        return "waits"


BOBS_TARGET = "http://target.<bob>.svc.cluster.local:8080/200"
REDIRECTING = f"http://target.<mallory>.svc.cluster.local:8080/to/{BOBS_TARGET.removeprefix('http://')}"
MINE, BOBS = f"/v1/routes/<mallory>/{ROUTE}", f"<bob>/{ROUTE}/messages"

SENDING = (
    _to_bob("a message to a route, with a token of one's own", "403 forbidden", lambda _, tenant: tenant.token()),
    _to_bob("a message without credentials", "401 unauthorized", lambda *_: None),
    _to_bob(
        "a token for the API server's audience", "401 unauthorized", lambda _, tenant: tenant.token("--duration=10m")
    ),
    by_bob_or_mallory(
        Kind.SEND, Means.POD, "the hash of an API key as the key", "401 unauthorized", ACCEPTED, _key_action
    ),
    _path("a path through one's own route", f"{MINE}/../../{BOBS}", "404 not-found"),
    _path("the same, percent-encoded", f"/v1/routes/<mallory>%2f..%2f<bob>/{ROUTE}/messages", "404 not-found"),
    by_bob_or_mallory(Kind.SEND, Means.POD, "another producer's subject", "403 subject-denied", ACCEPTED, _subject),
    by_bob_or_mallory(Kind.SEND, Means.POD, "the same in a batch", "403", ACCEPTED, _batch_subject),
    _delivery("a message to a target of others", "dead letter refused", "to-bob", BOBS_TARGET),
    _delivery("the same, by a redirect of one's own target", "dead letter 302", "redirected", REDIRECTING),
)
FORGING = (
    _to_bob("an unsigned token that names a producer", "401 unauthorized", _unsigned, Kind.FORGE),
    _to_bob("a signed token with the claims exchanged", "401 unauthorized", _altered, Kind.FORGE),
    _header("another message's identity", "Chaski_Message_Id"),
    _header("a signature", "webhook-signature"),
    _header("the address of a client behind a proxy", "X_Forwarded_For"),
    _header("another path than the rule's", "X-Original-URL"),
)


def _from_worker(text: str, label: str, url: str, control_text: str, control: Callable[[Scene], str]) -> Action:
    """A message to an address that a rule of Mallory's route, and a policy, permit."""
    return Action(
        Kind.READ,
        Means.WORKER,
        text,
        "dead letter refused",
        lambda scene: scene.mallory.outcome(label, url),
        control_text,
        "done",
        control,
    )


def _api_server(scene: Scene) -> str:
    """Mallory's Pod connects to the address: the network does not refuse it."""
    return scene.mallory.ask_ingest({"connect": ["10.96.0.1", 443]})[0]


def _workers_port(scene: Scene) -> str:
    path = "/api/v1/namespaces/<bob>/pods/<worker>:9090/proxy/metrics"
    return scene.platform.kubectl("get", "--raw", scene.filled(path))


READING = (
    _from_worker("the API server, from a worker's Pod", "api", "https://10.96.0.1/api", "Mallory's Pod", _api_server),
    _from_worker("a worker's own port", "itself", "http://127.0.0.1:9090/metrics", "the administrator", _workers_port),
)
EXHAUSTING = (
    by_bob_or_mallory(
        Kind.EXHAUST,
        Means.POD,
        f"{MANY} messages at once with 2 a second permitted",
        "202 and 429 rate-limited; then Bob: 202",
        "202; then Bob: 202",
        _rate,
    ),
    by_bob_or_mallory(Kind.EXHAUST, Means.POD, "a batch of 17 MiB", "413 too-large", "202", _large),
    Action(
        Kind.EXHAUST,
        Means.POD,
        "half of each of 300 batches of 1 MiB",
        "refused; Bob: 202",
        lambda scene: _held(scene, 300),
        "Mallory, one batch",
        "waits; Bob: 202",
        lambda scene: _held(scene, 1),
    ),
    Action(
        Kind.EXHAUST,
        Means.WORKER,
        f"{CONCURRENCY} messages to a target that does not respond, with {CONCURRENCY} attempts at a time",
        "Bob's messages: delivered",
        lambda scene: f"Bob's messages: {_slow_target(scene, scene.bob)}",
        "Mallory",
        "Mallory's messages: waits",
        lambda scene: f"Mallory's messages: {_slow_target(scene, scene.mallory)}",
    ),
)
ACTIONS = (*READING, *SENDING, *FORGING, *EXHAUSTING)
