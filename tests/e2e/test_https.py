"""Ingest over HTTPS with its clients: `helm test`, and a canary that verifies the certificate."""

from collections.abc import Iterator

import pytest

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.pods import PRIVATE, TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def certified(installed: Cluster) -> Iterator[Cluster]:
    """The installation, which has a certificate for ingest; the release is restored afterwards."""
    yield installed
    installed.install()


def test_messages_are_accepted_over_https_and_the_canary_receives_its_own(
    team: TeamNamespace, certified: Cluster
) -> None:
    """The canary trusts the Secret's authority, for the Service's name, and has no access to the key."""
    sink = f"http://chaski-canary.{SYSTEM}.svc.cluster.local:8082/"
    team.route(
        "watched",
        targets={"allow": [{"name": "canary", "url": sink, "cidrs": PRIVATE}]},
        producers=[{"namespace": SYSTEM, "serviceAccount": "chaski-canary"}],
        autoscaling={"minReplicas": 1},
    )
    certified.ready(team.namespace, "watched")
    canary = ("--set", "canary.enabled=true", "--set", f"canary.routes={{{team.namespace}/watched}}")
    certified.install(*canary, "--set", "canary.intervalSeconds=10")
    path = f"/api/v1/namespaces/{SYSTEM}/services/chaski-canary:metrics/proxy/metrics"

    def arrived() -> bool:
        lines = certified.kubectl("get", "--raw", path).splitlines()
        counts = [line for line in lines if line.startswith("chaski_canary_latency_seconds_count{")]
        return any(float(line.rpartition(" ")[2]) >= 1 for line in counts)

    certified.until("the canary's message", arrived, 180)
    output = certified.helm("test", "chaski", "-n", SYSTEM, "--logs", "--timeout", "5m")
    assert "passed: one message was delivered" in output
