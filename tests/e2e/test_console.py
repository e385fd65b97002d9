"""The console of the chart: a real Pod, reached by `kubectl port-forward`."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator

import pytest
import requests

from chaski_console.auth.passwords import user_line
from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.hardened import CHECKS
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ROUTE, SECRET, PASSWORD, SECONDS = "shown", "console-users", "correct horse battery", 30.0


@pytest.fixture(scope="module")
def console(installed: Cluster) -> Iterator[Cluster]:
    """The release with a console whose user is ada; removed at the end."""
    set_users(installed, "ada")
    values = {"enabled": "true", "auth.existingSecret": SECRET, "readOnly": "false"}
    installed.install(*(f"--set=console.{name}={value}" for name, value in values.items()))
    yield installed
    installed.install()
    installed.kubectl("delete", "secret", "-n", SYSTEM, SECRET)


def set_users(cluster: Cluster, *names: str) -> None:
    """Writes the Secret with the users."""
    users = "".join(f"{user_line(name, PASSWORD)}\n" for name in names)
    metadata = {"name": SECRET, "namespace": SYSTEM}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"users": users}})


@contextlib.contextmanager
def forwarded(cluster: Cluster) -> Iterator[str]:
    """Forwards a local port to the console; yields its URL, with a slash at the end."""
    with cluster.forwarded("chaski-console", "80") as address:
        yield f"http://{address}/"


def log_in(url: str, name: str, password: str = PASSWORD) -> requests.Session:
    """A client session with the user's cookie."""
    browser = requests.Session()
    form = {"name": name, "password": password, "next": "/"}
    browser.post(f"{url}login", data=form, timeout=SECONDS)
    return browser


def page(browser: requests.Session, address: str) -> str:
    """The text of a page, after redirects."""
    return browser.get(address, timeout=SECONDS).text


def test_a_user_sees_the_cluster_and_replays(
    console: Cluster, team: TeamNamespace, report: Callable[[str], None]
) -> None:
    """Anonymous users see nothing; ada sees the route and its dead letters, and the log names her; removed from the Secret, she is logged out."""
    allow = [{"name": "500", "url": f"{team.target}/500", "cidrs": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]}]
    team.route(ROUTE, targets={"allow": allow}, retry={"rungs": [], "ladders": []}, autoscaling={"minReplicas": 1})
    console.ready(team.namespace, ROUTE)
    sender = team.begin_sending(ROUTE, [("s", f"{team.target}/500", 0, 2)])
    assert team.sent(sender)["accepted"] == 2
    key = f"{team.namespace}/{ROUTE}"
    with forwarded(console) as url:
        anonymous = requests.get(url, timeout=SECONDS)
        assert (anonymous.url, "Password" in anonymous.text, key in anonymous.text) == (
            f"{url}login?next=%2F",
            True,
            False,
        )
        assert key not in page(log_in(url, "ada", "wrong password"), url)
        ada = log_in(url, "ada")
        console.until("the route on the page", lambda: f'data-key="{key} backlog">0<' in page(ada, url), 120)
        search = f"{url}dead-letters?route={key}"
        console.until("two dead letters", lambda: len(set(selection_values(page(ada, search)))) == 2, 120)

        found = page(ada, search)
        token = re.search(r'name="token" value="([\w-]+)"', found)
        assert token is not None
        form = {"token": token[1], "action": "replay", "id": selection_values(found)[0]}
        result = ada.post(f"{url}dead-letters", data=form, timeout=SECONDS).text
        assert "1 replayed" in result
        console.until("the replay at the target", lambda: team.seen()["requests"].get("500") == 3, 120)
        assert console.until("the line that names ada", lambda: replayed_by(console), 60) == ["ada"]

        console.kubectl("delete", "chaskiroute", "-n", team.namespace, ROUTE, "--wait=false")
        console.until("no such route on the page", lambda: f'data-key="{key} backlog"' not in page(ada, url), 120)
        set_users(console, "grace")
        console.until("ada out", lambda: "Password" in page(ada, url), 240)
        assert "Password" in page(log_in(url, "ada"), url)
        assert "Password" not in page(log_in(url, "grace"), url)
    report(
        "console: an anonymous user saw nothing, ada two dead letters, one replayed in her name; logged out when removed"
    )


def test_it_may_read_routes_and_no_secret(console: Cluster) -> None:
    """By the API server's own answer, in a namespace that the installation serves; and nothing in its own."""

    def may(*what: str, namespace: str = CHECKS) -> bool:
        account = f"--as=system:serviceaccount:{SYSTEM}:chaski-console"
        return console.try_kubectl("auth", "can-i", *what, account, "-n", namespace).returncode == 0

    assert may("watch", "chaskiroutes.chaski.dev")
    assert not may("watch", "chaskiroutes.chaski.dev", namespace=SYSTEM)
    assert not may("patch", "chaskiroutes.chaski.dev")
    for refused in ("secrets", "configmaps", "pods"):
        assert not may("list", refused)


def selection_values(text: str) -> list[str]:
    """Route and message id of each checkbox of a page."""
    return re.findall(r'type="checkbox" name="id" value="([^"]+)"', text)


def replayed_by(cluster: Cluster) -> list[str]:
    """Users who replayed something, by the console's log."""
    log = cluster.kubectl("logs", "-n", SYSTEM, "deployment/chaski-console", "--tail=-1")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [str(line["user.name"]) for line in lines if line.get("event.action") == "replay"]
