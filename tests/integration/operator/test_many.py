"""Many routes in one cluster, some of them broken: the cost of the operator, and delays by the broken ones."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support.faults.recording_proxy import ProxiedRequest
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, kubelets, operator, until

DENIED = {"__type": "com.amazon.coral.service#AccessDeniedException", "message": "not allowed"}
BROKEN = ("denied-a", "denied-b", "hanging-a", "foreign-a")
PROBES = 3
HANG_SECONDS = 15.0
DEADLINE_SECONDS = 900.0


def route(name: str, namespace: str) -> dict[str, Any]:
    """A Strict route: one queue, one table, one Deployment."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "ordering": "Strict",
            "queues": [{"name": "messages"}],
            "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            "producers": [{"namespace": "shop", "serviceAccount": "orders"}],
        },
    }


@pytest.fixture
def op(kube: KubeApi, tmp_path: Path, moto: str, namespace: str) -> Iterator[Operator]:
    """An operator with the default intervals."""
    with operator(kube, tmp_path, moto, namespace, flags=()) as made, kubelets(kube, namespace):
        made.start()
        yield made


def apply(op: Operator, namespace: str, *names: str) -> None:
    """Applies routes in one request."""
    listed = {"apiVersion": "v1", "kind": "List", "items": [route(name, namespace) for name in names]}
    op.kube.kubectl("apply", "--server-side", "-f", "-", document=listed)


def conditions(op: Operator, namespace: str) -> dict[str, dict[str, str]]:
    """By route and type: status and reason of each condition."""
    listed = op.kube.get("chaskiroutes", "-n", namespace)["items"]
    return {
        each["metadata"]["name"]: {
            condition["type"]: f"{condition['status']} {condition['reason']}"
            for condition in (each.get("status") or {}).get("conditions") or ()
        }
        for each in listed
    }


def ready(op: Operator, namespace: str) -> set[str]:
    """Names of the Ready routes."""
    return {name for name, found in conditions(op, namespace).items() if found.get("Ready", "").startswith("True")}


def seconds_until_ready(op: Operator, namespace: str, *names: str) -> float:
    """The minimum over several new routes, one after the other: anything above it is noise of the machine."""
    taken = []
    for name in names:
        started = time.monotonic()
        apply(op, namespace, name)
        until(lambda name=name: name in ready(op, namespace), f"{name} is not Ready")  # type: ignore[misc]
        taken.append(time.monotonic() - started)
    return min(taken)


def break_some(op: Operator, namespace: str) -> None:
    """Applies routes that AWS denies, one whose calls hang, one whose queue has another owner."""

    def refuse(asked: ProxiedRequest) -> web.Response | None:
        return web.json_response(DENIED, status=400) if b"-denied-" in asked.body else None

    op.aws.refuse = refuse
    op.aws.delay = lambda asked: HANG_SECONDS if b"-hanging-" in asked.body else 0.0
    apply(op, namespace, "foreign-a")
    until(lambda: "foreign-a" in ready(op, namespace), "foreign-a is not Ready")
    queue = op.kube.get("chaskiroute", "foreign-a", "-n", namespace)["status"]["resolved"]["generations"][0]["queues"]
    url = queue[0]["urls"][0].replace(op.aws.url, op.aws.upstream)
    tags = op.boto().call("sqs", "ListQueueTags", {"QueueUrl": url})["Tags"]
    op.boto().call("sqs", "UntagQueue", {"QueueUrl": url, "TagKeys": list(tags)})
    apply(op, namespace, *BROKEN)
    stamp = "chaski.dev/reconcile-requested-at=now"
    op.kube.kubectl("annotate", "chaskiroute", "foreign-a", "-n", namespace, stamp)


@pytest.mark.promise(9)
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    ("many", "window"), [pytest.param(12, 25.0, id="12"), pytest.param(200, 60.0, id="200", marks=pytest.mark.slow)]
)
def test_broken_routes_delay_no_other(
    op: Operator, namespace: str, many: int, window: float, report: Callable[[str], None]
) -> None:
    """A new route becomes Ready among broken ones as fast as without them."""
    names = [f"route-{number:03}" for number in range(many)]
    started = time.monotonic()
    apply(op, namespace, *names)
    until(lambda: ready(op, namespace) >= set(names), "the routes are not Ready", DEADLINE_SECONDS)
    report(f"{many} routes Ready after {time.monotonic() - started:.1f} s")

    before = seconds_until_ready(op, namespace, *(f"before-{number}" for number in range(PROBES)))
    break_some(op, namespace)
    among = seconds_until_ready(op, namespace, *(f"among-{number}" for number in range(PROBES)))
    report(f"a new route is Ready after {before:.2f} s, and after {among:.2f} s among {len(BROKEN)} broken ones")
    found = conditions(op, namespace)
    assert found["denied-a"]["QueuesReady"] == "False AccessDenied"
    assert found["foreign-a"]["QueuesReady"] == "False QueueNotOwned"
    assert "hanging-a" not in ready(op, namespace)
    assert set(names) <= ready(op, namespace)

    until(
        lambda: all("Autoscaling" in each for name, each in conditions(op, namespace).items() if name in names),
        "no autoscaler check",
    )
    wait_until_idle(op)
    asked, calls = len(op.api.asked), len(op.aws.asked)
    time.sleep(window)  # the measurement
    api = Counter(each.summary.split("/")[0] for each in op.api.asked[asked:] if "/leases" not in each.path)
    aws = Counter(each.summary for each in op.aws.asked[calls:])
    rss = memory(op)
    per_minute = 60.0 / window
    report(
        f"{many} routes: {rss:.0f} MiB resident; each minute {sum(api.values()) * per_minute:.0f} calls of the API server "
        f"without the Lease's, {sum(aws.values()) * per_minute:.0f} of AWS ({aws['GetQueueAttributes'] * per_minute:.0f} for counts)"
    )
    assert rss < 400
    written = [each.summary for each in op.api.asked[asked:] if each.writes and not is_expected(each)]
    assert written == []


def wait_until_idle(op: Operator) -> None:
    """Waits until nothing was written for the healthy routes for three seconds."""

    def written() -> int:
        return sum(each.writes and not is_expected(each) for each in list(op.api.asked))

    def idle() -> bool:
        before = written()
        time.sleep(3)
        return written() == before

    until(idle, "the operator keeps writing")


def memory(op: Operator) -> float:
    """Resident memory of the operator, in MiB."""
    assert op.process is not None
    lines = Path(f"/proc/{op.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def is_expected(asked: ProxiedRequest) -> bool:
    """Whether a write is to the Lease, or reports a broken route."""
    return "/leases" in asked.path or "/events" in asked.path or any(name in asked.path for name in BROKEN)
