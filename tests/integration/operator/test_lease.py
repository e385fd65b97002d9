"""Two operators, one Lease: after its loss nothing is written, in whatever the holder was in the middle of."""

import os
import shutil
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from support.kube.api_server import KubeApi
from support.operator.processes import QUICK, Operator, two_operators, until
from support.operator.routes import OperatedRoute

pytestmark = pytest.mark.timeout(400)

SECONDS = 6.0
FLAGS = (*QUICK, "--lease-seconds", str(int(SECONDS)))
FOREVER = 3600.0
needs_faketime = pytest.mark.skipif(
    shutil.which("faketime") is None and os.environ.get("CI") != "true",
    reason="faketime (a Debian package), which sets the clock of a process, is not installed",
)


def pair(kube: KubeApi, folder: Path, moto: str, namespace: str) -> AbstractContextManager[tuple[Operator, Operator]]:
    """Two operators that share a Lease."""
    return two_operators(kube, folder, moto, namespace, lambda _: FLAGS)


def written_at(one: Operator) -> list[float]:
    """When it sent writes, and any calls to AWS."""
    return [each.at for each in one.api.writes()] + [each.at for each in list(one.aws.asked)]


def faketime(offset_seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is off; its monotonic clock is not."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{offset_seconds:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@needs_faketime
@pytest.mark.slow
@pytest.mark.promise(7)
@pytest.mark.parametrize("offset_seconds", [30, -30])
def test_clocks_that_differ_neither_steal_nor_keep_the_lease(
    kube: KubeApi, tmp_path: Path, moto: str, offset_seconds: int
) -> None:
    """The second waits while the first renews, and takes over once it has seen no renewal for the Lease's duration."""
    namespace = kube.make_namespace()
    with pair(kube, tmp_path, moto, namespace) as (first, second):
        second.environment = faketime(offset_seconds)
        first.start()
        route = OperatedRoute(first, namespace)
        route.apply()
        route.ready()
        second.start()
        until(lambda: second.api.asked, "the second did not ask for the Lease")
        deadline, seconds = time.monotonic() + 2 * SECONDS, 41
        while time.monotonic() < deadline:
            route.apply(delivery={"timeoutSeconds": seconds})
            route.ready()
            seconds += 1
        first.kill()
        killed_at = time.monotonic()
        route.apply(delivery={"timeoutSeconds": 100})
        route.ready()
        begun_at = min(written_at(second))
        lost = "lost the Lease" in first.log.read_text()
        assert lost or begun_at > killed_at  # a machine may be too busy to renew in time: then it stopped before
        renewed_at = max(each.at for each in first.api.asked if "/leases" in each.path and each.writes)
        assert begun_at - renewed_at > (0 if lost else SECONDS - 0.5)
        assert max(written_at(first)) < begun_at


def begin_long_work(first: Operator, namespace: str) -> OperatedRoute:
    """Lets an operator begin the creation of many queues, each call of which takes long."""
    first.aws.delay = lambda _: 0.5
    first.start()
    route = OperatedRoute(first, namespace)
    route.apply(queues=[{"name": "messages", "partitions": 24}])
    until(lambda: first.calls(namespace, "CreateQueue") > 2, "the operator does not create the queues")
    return route


@pytest.mark.promise(7)
def test_holder_whose_api_server_hangs_writes_nothing_after_the_loss(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """It was creating queues. Once the second has taken over, it calls neither the API server nor AWS."""
    namespace = kube.make_namespace()
    with pair(kube, tmp_path, moto, namespace) as (first, second):
        route = begin_long_work(first, namespace)
        second.start()
        until(lambda: second.api.asked, "the second did not ask for the Lease")
        first.api.delay = lambda _: FOREVER
        until(lambda: "lost the Lease" in first.log.read_text(), "the first kept the Lease")
        assert first.calls(namespace, "CreateQueue") < 24
        route.ready()
        until(second.api.writes, "the second writes nothing")
        time.sleep(SECONDS)
        begun_at = min(written_at(second))
        assert [at for at in written_at(first) if at > begun_at] == []
        assert second.calls(namespace, "CreateQueue") > 0
        assert first.process is not None
        assert first.process.poll() is None


@pytest.mark.promise(7)
def test_process_that_was_paused_beyond_its_lease_writes_nothing_when_it_goes_on(
    kube: KubeApi, tmp_path: Path, moto: str
) -> None:
    """It was creating queues, and wakes in the middle of that, before it knows of the loss; then it waits."""
    namespace = kube.make_namespace()
    with pair(kube, tmp_path, moto, namespace) as (first, second):
        route = begin_long_work(first, namespace)
        assert first.process is not None
        os.kill(first.process.pid, signal.SIGSTOP)
        second.start()
        route.ready()
        os.kill(first.process.pid, signal.SIGCONT)
        until(lambda: "lost the Lease" in first.log.read_text(), "the first kept the Lease")
        time.sleep(SECONDS)
        begun_at = min(written_at(second))
        assert [at for at in written_at(first) if at > begun_at] == []
        second.kill()
        route.apply(queues=[{"name": "messages", "partitions": 24}], delivery={"timeoutSeconds": 41})
        first.aws.delay = lambda _: 0.0
        route.ready()
