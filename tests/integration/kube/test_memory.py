"""What a user may create in one namespace costs the processes of the whole cluster no memory to speak of."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.console_users import users_text
from support.kube.api_server import KubeApi
from support.kube.charts import CHART
from support.kube.http import ROUTES, KubeHttp
from support.operator.processes import BIN, until

pytestmark = [pytest.mark.promise(12), pytest.mark.promise(14)]

FORGED = {"app.kubernetes.io/managed-by": "chaski-operator", "chaski.dev/route": "orders"}
FILLING = "x" * 1_000_000
RULES = 32
BUNDLE = "-----BEGIN CERTIFICATE-----\n" + "x" * 16_000  # 512 KiB in all rules together are admitted
NOTE = "x" * 260_000  # annotations may have 256 KiB together


def config_map(number: int) -> dict[str, Any]:
    """1 MB with the labels of the operator's own, and every fourth with an owner reference to a route too."""
    metadata: dict[str, Any] = {"name": f"forged-{number}", "labels": FORGED}
    if number % 4 == 0:
        owner = {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiRoute", "name": "large-0", "uid": "1"}
        metadata["ownerReferences"] = [owner | {"controller": True}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": FILLING}}


def large_route(number: int) -> dict[str, Any]:
    """0.77 MB, about the largest that is admitted: 32 rules with certificates, and an annotation."""
    rules = [{"name": f"t{n}", "url": f"https://t{n}.example/", "caBundle": f"{BUNDLE}{n}"} for n in range(RULES)]
    spec = {"queues": [{"name": "messages"}], "targets": {"allow": rules}}
    metadata = {"name": f"large-{number}", "annotations": {"note": NOTE}}
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiRoute", "metadata": metadata, "spec": spec}


def create(kube: KubeApi, namespace: str, maps: range, routes: range) -> None:
    """Creates the objects, several at once."""
    http = KubeHttp(kube)
    work = [(f"/api/v1/namespaces/{namespace}/configmaps", config_map, number) for number in maps]
    work += [(f"{ROUTES}/namespaces/{namespace}/chaskiroutes", large_route, number) for number in routes]

    def one(job: tuple[str, Callable[[int], dict[str, Any]], int]) -> None:
        path, make, number = job
        assert http.refusal("POST", path, make(number)) is None

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one, work))


@contextmanager
def process(folder: Path, environment: dict[str, str], command: list[str]) -> Iterator[tuple[int, Path]]:
    """A running process, its id and its log; killed at the end."""
    log = folder / f"{command[0]}.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        )
    try:
        yield running.pid, log
    finally:
        assert running.poll() is None, log.read_text()[-3000:]
        running.kill()
        running.wait()


def mib(pid: int, name: str) -> int:
    """VmRSS (now) or VmHWM (the peak) of a process, in MiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def commands(folder: Path) -> dict[str, list[str]]:
    """The three processes, as the chart starts them, by the part of the values that has their limits."""
    (folder / "users").write_text(users_text(ada="correct horse battery"))
    users = ("--auth", "password", "--password-file", str(folder / "users"))
    operator = ["chaski-operator", "--worker-image", "i:1", "--host", "127.0.0.1", "--metrics-port", "0"]
    return {
        "operator": [*operator, "--resync-seconds", "20", "--lease-namespace", "default"],
        "ingest": ["chaski-ingest", "--auth", "none", "--kubernetes", "--port", "0"],
        "console": ["chaski", "console", "--kubernetes", *users, "--port", "0", "--log-format", "json"],
    }


def measure(kube: KubeApi, folder: Path, maps: int, routes: int, report: Callable[[str], None]) -> dict[str, int]:
    """Peaks of the three processes in MiB: two thirds of the objects exist at their start, the rest is created later."""
    namespace = kube.make_namespace("flood")
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(kube.user_kubeconfig("flood", ["system:masters"])),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",  # no route gets ready
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    create(kube, namespace, range(maps * 2 // 3), range(routes * 2 // 3))
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(process(folder, environment, command))
            for name, command in commands(folder).items()
        }
        for name, (_, log) in running.items():
            until(lambda log=log: b"ready" in log.read_bytes(), f"{name} is not ready", 300)  # type: ignore[misc]  # mypy infers no default
        create(kube, namespace, range(maps * 2 // 3, maps), range(routes * 2 // 3, routes))
        last = f"large-{routes - 1}"
        ingest = running["ingest"][1]
        until(lambda: f"{namespace}/{last} is not served" in ingest.read_text(), "ingest has not seen all", 300)
        http, path = KubeHttp(kube), f"{ROUTES}/namespaces/{namespace}/chaskiroutes"

        def observed() -> bool:
            names = (f"large-{number}" for number in range(routes))
            return all("conditions" in http.get(f"{path}/{name}").get("status", {}) for name in names)

        until(observed, "the operator has not seen all", 600, every=5.0)
        time.sleep(45)  # two more listings of the operator
        for name, (pid, _) in running.items():
            report(
                f"{name}: {mib(pid, 'VmRSS')} MiB, peak {mib(pid, 'VmHWM')} MiB ({maps} ConfigMaps, {routes} routes)"
            )
        return {name: mib(pid, "VmHWM") for name, (pid, _) in running.items()}


def limits() -> dict[str, int]:
    """Memory limits of the chart, in MiB."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return {
        name: int(values[name]["resources"]["limits"]["memory"].removesuffix("Mi"))
        for name in ("operator", "ingest", "console")
    }


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_flood_of_one_namespace_stays_within_the_limits(
    own_kube: KubeApi, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """450 ConfigMaps of 1 MB with forged labels, and routes of 200 MB together that never become ready."""
    peaks, most = measure(own_kube, tmp_path, 450, 260, report), limits()
    assert {name: peak for name, peak in peaks.items() if peak > most[name]} == {}


@pytest.mark.timeout(1200)
def test_small_flood_costs_little(own_kube: KubeApi, tmp_path: Path, report: Callable[[str], None]) -> None:
    """90 ConfigMaps and 30 routes: 120 MB, of which each process keeps a part."""
    peaks = measure(own_kube, tmp_path, 90, 30, report)
    assert peaks["operator"] < 330
    assert peaks["ingest"] < 250
    assert peaks["console"] < 250
