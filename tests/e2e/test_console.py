"""The console that the chart runs: a real Pod, reached as people reach it, by `kubectl port-forward`."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
import requests

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.pods import Team

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ROUTE, SECRET, PASSWORD, SECONDS = "shown", "console-users", "correct horse battery", 30.0


@pytest.fixture(scope="module")
def console(installed: Cluster) -> Iterator[Cluster]:
    """The release with its console, for ada; without it again at the end."""
    may_sign_in(installed, "ada")
    installed.install("--set", "console.enabled=true", "--set", f"console.auth.existingSecret={SECRET}")
    yield installed
    installed.install()
    installed.kubectl("delete", "secret", "-n", SYSTEM, SECRET)


def may_sign_in(cluster: Cluster, *names: str) -> None:
    """Writes the Secret."""
    users = "".join(f"{name}:{PASSWORD}\n" for name in names)
    metadata = {"name": SECRET, "namespace": SYSTEM}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"users": users}})


@contextlib.contextmanager
def forwarded(cluster: Cluster) -> Iterator[str]:
    """A port of this machine that leads to the console; its address, with a slash at the end."""
    command = [cluster.info["KUBECTL"], "port-forward", "-n", SYSTEM, "service/chaski-console", ":80"]
    environment = os.environ | {"KUBECONFIG": cluster.info["KUBECONFIG"]}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()  # ends with the process, if that says nothing
        found = re.match(r"Forwarding from (127\.0\.0\.1:\d+) -> 8081", said)
        assert found is not None, f"{said!r}\n{cluster.state()}"
        yield f"http://{found[1]}/"
    finally:
        process.terminate()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def sign_in(url: str, name: str, password: str = PASSWORD) -> requests.Session:
    """Somebody's browser, with the page that they came to."""
    browser = requests.Session()
    form = {"name": name, "password": password, "next": "/"}
    browser.post(f"{url}login", data=form, timeout=SECONDS)
    return browser


def page(browser: requests.Session, address: str) -> str:
    """A page's text, wherever it leads."""
    return browser.get(address, timeout=SECONDS).text


def test_whoever_signs_in_sees_the_cluster_and_sends_again(
    console: Cluster, team: Team, report: Callable[[str], None]
) -> None:
    """A stranger sees nothing; ada sees the route and its dead letters, and the log names her; without her line she is out."""
    allow = [{"name": "500", "url": f"{team.target}/500", "cidrs": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]}]
    team.route(ROUTE, targets={"allow": allow}, retry={"rungs": [], "ladders": []}, autoscaling={"minReplicas": 1})
    console.ready(team.namespace, ROUTE)
    sender = team.begin_sending(ROUTE, [("s", f"{team.target}/500", 0, 2)])
    assert team.sent(sender)["accepted"] == 2
    key = f"{team.namespace}/{ROUTE}"
    with forwarded(console) as url:
        stranger = requests.get(url, timeout=SECONDS)
        assert (stranger.url, "Password" in stranger.text, key in stranger.text) == (
            f"{url}login?next=%2F",
            True,
            False,
        )
        assert key not in page(sign_in(url, "ada", "wrong password"), url)
        ada = sign_in(url, "ada")
        console.until("the route on the page", lambda: f'data-key="{key} backlog">0<' in page(ada, url), 120)
        search = f"{url}dead-letters?route={key}"
        console.until("two dead letters", lambda: len(set(letters(page(ada, search)))) == 2, 120)

        found = page(ada, search)
        token = re.search(r'name="token" value="(\w+)"', found)
        assert token is not None
        form = {"token": token[1], "action": "replay", "id": letters(found)[0]}
        said = ada.post(f"{url}dead-letters", data=form, timeout=SECONDS).text
        assert "1 sent again" in said
        console.until("it at the target again", lambda: team.seen()["requests"].get("500") == 3, 120)
        assert console.until("the line that names ada", lambda: replayed(console), 60) == ["ada"]

        console.kubectl("delete", "chaskiroute", "-n", team.namespace, ROUTE, "--wait=false")
        console.until("no such route on the page", lambda: f'data-key="{key} backlog"' not in page(ada, url), 120)
        may_sign_in(console, "grace")
        console.until("ada out", lambda: "Password" in page(ada, url), 240)
        assert "Password" in page(sign_in(url, "ada"), url)
        assert "Password" not in page(sign_in(url, "grace"), url)
    report("console: a stranger saw nothing, ada two dead letters, one sent again in her name; out with her line")


def test_it_may_read_routes_and_no_secret(console: Cluster) -> None:
    """Asked of the API server itself."""

    def may(*what: str) -> bool:
        account = f"--as=system:serviceaccount:{SYSTEM}:chaski-console"
        return console.try_kubectl("auth", "can-i", *what, account, "--all-namespaces").returncode == 0

    assert may("watch", "chaskiroutes.chaski.dev")
    assert not may("patch", "chaskiroutes.chaski.dev")
    for refused in ("secrets", "configmaps", "pods"):
        assert not may("list", refused)


def letters(text: str) -> list[str]:
    """What a page's boxes stand for: route and message id."""
    return re.findall(r'type="checkbox" name="id" value="([^"]+)"', text)


def replayed(cluster: Cluster) -> list[str]:
    """Who sent something again, by the console's log."""
    log = cluster.kubectl("logs", "-n", SYSTEM, "deployment/chaski-console", "--tail=-1")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [str(line["user.name"]) for line in lines if line.get("event.action") == "replay"]
