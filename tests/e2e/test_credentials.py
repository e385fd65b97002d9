"""Credentials for targets in a cluster: OAuth 2.0 and tokens of ServiceAccounts, which expire, are revoked and rotated."""

import time
from collections.abc import Callable

import pytest

from support.cluster.credentials import ROUTE, Stand, make_stand
from support.cluster.pods import TeamNamespace
from support.cluster.secrets_scan import found_in, written

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def stand(team: TeamNamespace) -> Stand:
    """A ready one."""
    return make_stand(team)


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
    assert on.sent("account/first") == [(1, 200)]
    assert on.reviewed(on.token()) == f"system:serviceaccount:{on.team.namespace}:chaski-{ROUTE}"


def account_revoked(on: Stand) -> None:
    """Tokens end with their account: each 401 is an attempt, until a Pod of the account that was made again has another token."""
    cluster, namespace = on.team.cluster, on.team.namespace
    token = on.token()
    cluster.kubectl("delete", "serviceaccount", f"chaski-{ROUTE}", "-n", namespace)
    cluster.until("the end of the account's tokens", lambda: on.reviewed(token) is None, 60)
    on.issuer("end-account")
    on.send("account/revoked")
    cluster.until("two refused attempts", lambda: len(on.seen("account/revoked")) >= 2, 60)
    assert {status for _, status in on.seen("account/revoked")} == {401}
    cluster.until(
        "the account, made again",
        lambda: cluster.try_kubectl("get", "serviceaccount", f"chaski-{ROUTE}", "-n", namespace).returncode == 0,
    )
    cluster.kubectl("delete", "pods", "-n", namespace, "-l", f"chaski.dev/route={ROUTE}", "--wait=false")
    requests = on.delivered("account/revoked", 180)
    attempts = [attempt for attempt, _ in requests]
    assert attempts == sorted(attempts)
    assert [status for _, status in requests] == [401] * (len(requests) - 1) + [200]
    assert on.reviewed(on.token()) == f"system:serviceaccount:{namespace}:chaski-{ROUTE}"


def dead_letters(on: Stand) -> None:
    """One of each rule, whose target has repeated the credentials in its response."""
    paths = ("oauth/gone", "account/gone")
    for path in paths:
        on.send(path)
    on.team.cluster.until("the answers 410", lambda: all(on.seen(path)[-1:] == [(1, 410)] for path in paths), 60)


def no_secret_is_written(on: Stand) -> int:
    """Neither a client's secret nor a token is in a log, table, object or metrics page; returns how many texts were searched."""
    state = on.issuer("seen")
    texts = written(on.team.cluster, [on.team.namespace])
    secrets = {*on.secrets, *state["issued"], *(token for _, token, _, _ in state["seen"])}
    stored = [name for name, text in texts.items() if "you sent" in text]
    assert any(name.startswith("table") for name in stored), "the responses of the dead letters are not stored"
    assert found_in(texts, secrets) == []
    assert found_in({"with one": f"Bearer {state['issued'][0]}"}, secrets) == ["with one"]
    return len(texts)


@pytest.mark.promise(4)
def test_credentials_are_renewed_and_awaited(stand: Stand, report: Callable[[str], None]) -> None:
    """Expired, revoked, the endpoint unavailable, the client rotated; tokens of the workers' account; nothing of it written."""
    access_tokens(stand)
    endpoint_unavailable(stand)
    client_rotated(stand)
    account_tokens(stand)
    account_revoked(stand)
    dead_letters(stand)
    report(f"no secret in {no_secret_is_written(stand)} logs, pages of tables, lists of objects and pages of metrics")
