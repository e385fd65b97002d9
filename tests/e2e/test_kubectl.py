"""`kubectl chaski` in a cluster: the plugin that kubectl finds, with a kubeconfig and AWS credentials."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cluster.cluster import Cluster
from support.cluster.pods import PRIVATE, TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ROUTE, FAILED = "inspected", 3


class Plugin:
    """Runs `kubectl chaski` for a route."""

    def __init__(self, cluster: Cluster, route: str) -> None:
        self._kubectl, self._route = cluster.info["KUBECTL"], route
        self._environment = os.environ | {
            "KUBECONFIG": cluster.info["KUBECONFIG"],
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_SQS": f"http://127.0.0.1:{cluster.info['SQS_PORT']}",
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{cluster.info['DYNAMODB_PORT']}",
        }

    def run(
        self, command: str, *arguments: str, status: int = 0, route: str | None = None, stdin: str | None = None
    ) -> str:
        """The output of a command, which ends with `status`."""
        whole = [self._kubectl, "chaski", command, route or self._route, *arguments]
        ran = subprocess.run(
            whole, capture_output=True, text=True, timeout=120, check=False, env=self._environment, input=stdin
        )
        assert ran.returncode == status, f"{' '.join(whole)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout + ran.stderr

    def json(self, command: str, *arguments: str, stdin: str | None = None) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.run(command, *arguments, "-o", "json", stdin=stdin))


@pytest.fixture
def plugin(team: TeamNamespace) -> Plugin:
    """That of a Strict route with dead letters of one subject, and another subject that waits for a retry in ten minutes."""
    allow = [{"name": name, "url": f"{team.target}/{name}", "cidrs": PRIVATE} for name in ("200", "400", "500")]
    ladders = [{"class": "4xx", "rungs": []}, {"class": "5xx", "retriesPerRung": 1, "rungs": ["later"]}]
    retry = {"rungs": [{"name": "later", "delaySeconds": 600}], "ladders": ladders}
    team.route(
        ROUTE,
        ordering="Strict",
        queues=[{"name": "messages"}],
        targets={"allow": allow},
        retry=retry,
        autoscaling={"minReplicas": 1, "maxReplicas": 1},
    )
    team.cluster.ready(team.namespace, ROUTE)
    plan = [("failed", f"{team.target}/400", 0, FAILED), ("waits", f"{team.target}/500", 0, 1)]
    assert team.sent(team.begin_sending(ROUTE, plan))["accepted"] == FAILED + 1
    made = Plugin(team.cluster, f"{team.namespace}/{ROUTE}")
    team.cluster.until("the dead letters", lambda: len(made.json("dead-letters")) == FAILED)
    team.cluster.until("the waiting subject", lambda: made.json("subjects")["subjects"])
    return made


def test_the_plugin_shows_and_replays_what_failed(
    plugin: Plugin, team: TeamNamespace, report: Callable[[str], None]
) -> None:
    """Each command, for people and for machines."""
    assert plugin.json("status")["ready"] is True
    assert "waits" in plugin.run("subjects")
    assert {"200", "400", "500"} <= {row["target"] for row in plugin.json("targets")}
    first, *_ = plugin.json("dead-letters", "--oldest-first")
    shown = plugin.run("trace", first["messageId"])
    assert "400" in shown
    log = team.cluster.kubectl("logs", "-n", team.namespace, "-l", f"chaski.dev/route={ROUTE}", "--tail=-1")
    (traced,) = plugin.json("trace", first["messageId"], "--logs", "-", stdin=log)["messages"]
    assert [(each["number"], each["status"]) for each in traced["attempts"]] == [(1, 400)]
    dry = plugin.json("replay", "--class", "4xx", "--dry-run")
    assert (dry["found"], dry["sent"]) == (FAILED, 0), dry
    plugin.run("replay", "--class", "4xx", "--to-url", f"{team.target}/200", "--yes")
    team.cluster.until("all replayed", lambda: team.seen()["requests"].get("200") == FAILED, 120)
    assert team.seen()["seen"]["failed"] == [*range(FAILED), *range(FAILED)]
    assert "Ready" in plugin.run("status")
    missing = plugin.run("status", route=f"{team.namespace}/absent", status=2)
    assert "absent" in missing
    report(plugin.run("dead-letters"))
