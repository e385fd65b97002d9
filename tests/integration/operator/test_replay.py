"""ChaskiReplays on a real API server: the operator creates the Job, the test runs the Job's command as its Pod would."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from chaski_core.dead_letter import DeadLetterFilter
from chaski_runtime.process.clock import SystemClock
from support.aws.embedded_sqs import ServerProcess
from support.dead_letters.replays import Replayed, letters_of, made, on_queues, report_line
from support.kube.api_server import KubeApi
from support.kube.job_pods import JobPod, jobs_path
from support.operator.processes import QUICK, Operator, kubelets, operator, until
from support.operator.routes import NAME, OperatedRoute

pytestmark = pytest.mark.timeout(600)  # many waits, each with its own deadline, on a shared machine

DEAD_LETTERS, SUBJECTS, RATE = 300, 20, 6
TOOLS = (
    "--tools-image", "registry.example/chaski/tools:1",
    "--tools-role-arn", "arn:aws:iam::111122223333:role/chaski-replay",
    "--worker-env", "AWS_ACCESS_KEY_ID=any", "--worker-env", "AWS_SECRET_ACCESS_KEY=any",
)  # fmt: skip


@pytest.fixture(scope="module")
def queues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A server of FIFO queues with AWS's rules, and its folder."""
    folder = tmp_path_factory.mktemp("queues")
    server = ServerProcess(folder)
    yield server, folder
    server.kill()


@pytest.fixture(scope="module")
def shared(
    kube: KubeApi,
    tmp_path_factory: pytest.TempPathFactory,
    moto: str,
    pool: list[str],
    queues: tuple[ServerProcess, Path],
) -> Iterator[Operator]:
    """An operator with an image for replays; queues on one emulator, tables on the other."""
    for each in pool:
        kube.kubectl("label", "namespace", each, "pod-security.kubernetes.io/enforce=restricted")
    flags = (*QUICK, *TOOLS)
    with operator(kube, tmp_path_factory.mktemp("operator"), moto, *pool, flags=flags) as made, kubelets(kube, *pool):
        made.environment = {"AWS_ENDPOINT_URL_SQS": queues[0].url}
        made.start()
        yield made


@pytest.fixture
def route(op: Operator, namespace: str) -> OperatedRoute:
    """A route, Ready."""
    made = OperatedRoute(op, namespace)
    made.apply(queues=[{"name": "messages", "partitions": 3}])
    made.ready()
    return made


async def fill(route: OperatedRoute, moto: str) -> dict[str, list[str]]:
    """Stores dead letters in the route's table; returns the ids that a replay of 5xx should send, in order, by subject."""
    key = f"{route.namespace}/{NAME}"
    stored = made(key, DEAD_LETTERS, SUBJECTS, SystemClock().now_ms())
    async with letters_of(moto, table(route)) as store:
        for start in range(0, DEAD_LETTERS, 20):
            await asyncio.gather(*(store.put(each) for each in stored[start : start + 20]))
    wanted = defaultdict(list)
    for number in range(DEAD_LETTERS):
        if number % 3 and number % 10 != 1:
            wanted[f"s{number % SUBJECTS:03}"].append(f"m{number:06}")
    return dict(wanted)


def table(route: OperatedRoute) -> str:
    """The name of its table of dead letters."""
    document = route.get()
    assert document is not None
    return str(document["status"]["resolved"]["deadLetterTable"])


async def test_killed_replay_continues_and_its_status_shows_the_progress(
    kube: KubeApi,
    route: OperatedRoute,
    moto: str,
    queues: tuple[ServerProcess, Path],
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    """Dry run and run agree; exactly the selected messages are on the queues, once, in order within a subject."""
    wanted = await asyncio.to_thread(lambda: asyncio.run(fill(route, moto)))
    ready = sum(map(len, wanted.values()))
    refused = sum(bool(number % 3) and number % 10 == 1 for number in range(DEAD_LETTERS))
    spec = {"filter": {"class": "5xx", "since": "1d"}}

    def dry_run() -> None:
        dry = Replayed(kube, route.namespace, NAME, "dry-run")
        dry.apply(dryRun=True, **spec)
        pod = JobPod(dry.http, dry.await_job(), tmp_path)
        pod.start()
        assert pod.wait() == 0, pod.log
        pod.finish_job(succeeded=True)
        assert f"{ready} would be replayed" in dry.says("Complete", "True", "DryRun")
        counted = {"selected": ready + refused, "replayed": 0, "skipped": 0, "refused": refused, "remaining": ready}
        assert dry.status["counts"] == counted
        assert dry.status["refusals"] == [{"reason": "NotAllowed", "count": refused}]
        assert len(dry.status["sample"]) == 10
        assert on_queues(queues[1], f"{route.namespace}/{NAME}") == {}

    def run() -> int:
        sent = Replayed(kube, route.namespace, NAME)
        sent.apply(ratePerSecond=RATE, **spec)
        job = sent.await_job()
        first = JobPod(sent.http, job, tmp_path)
        first.start()
        until(lambda: sent.status.get("counts", {}).get("replayed", 0) >= ready // 4, f"no progress: {first.log}", 120)
        first.kill()
        message = sent.says("Progressing", "True", "Retrying")
        assert "killed (Error, exit code 137)" in message
        before = sum(map(len, on_queues(queues[1], f"{route.namespace}/{NAME}").values()))
        assert ready // 4 <= before < ready
        second = JobPod(sent.http, job, tmp_path, 1)
        second.start()
        assert second.wait() == 0, second.log
        second.finish_job(succeeded=True)
        assert f"{ready} replayed" in sent.says("Complete", "True", "Replayed")
        counted = {"selected": ready + refused, "replayed": ready, "skipped": 0, "refused": refused, "remaining": 0}
        assert sent.status["counts"] == counted
        assert (sent.status["phase"], sent.status["jobName"]) == ("Complete", job["metadata"]["name"])
        report(f"killed after {before}, then Complete: {report_line(sent.status)}")
        return before

    await asyncio.to_thread(dry_run)
    await asyncio.to_thread(run)
    assert on_queues(queues[1], f"{route.namespace}/{NAME}") == wanted
    async with letters_of(moto, table(route)) as store:
        marked = [each async for each in store.find(DeadLetterFilter(replayed=True))]
    assert sorted(each.id for each in marked) == sorted(each for ids in wanted.values() for each in ids)
    uid = (Replayed(kube, route.namespace, NAME).get() or {})["metadata"]["uid"]
    assert {each.replay.run for each in marked if each.replay} == {f"again.{uid[:18]}"}


def test_finished_replay_never_runs_again(op: Operator, kube: KubeApi, route: OperatedRoute, tmp_path: Path) -> None:
    """Not when its Job is deleted, and not by a restarted operator; after its TTL it is deleted with its Job."""
    done = Replayed(kube, route.namespace, NAME, "once")
    done.apply()
    job = done.await_job()
    pod = JobPod(done.http, job, tmp_path)
    pod.start()
    assert pod.wait() == 0, pod.log
    pod.finish_job(succeeded=True)
    assert "0 replayed" in done.says("Complete", "True", "Replayed")
    completed = done.status["completionTime"]
    kube.kubectl("delete", "job", job["metadata"]["name"], "-n", route.namespace)
    op.kill()
    op.start()
    other = Replayed(kube, route.namespace, NAME, "later")
    other.apply(suspend=True)
    other.says("Progressing", "False", "Suspended")  # the new process has reconciled all replays
    op.quiet(route.namespace, 3.0)
    assert (done.job(), done.status["completionTime"]) == (None, completed)
    kube.kubectl(
        "patch",
        "chaskireplay",
        "once",
        "-n",
        route.namespace,
        "--type=merge",
        "-p",
        '{"spec": {"ttlSecondsAfterFinished": 0}}',
    )
    until(lambda: done.get() is None, "it outlived its TTL")


def test_blocker_is_reported_until_it_is_removed(op: Operator, kube: KubeApi, namespace: str, tmp_path: Path) -> None:
    """Each with its remedy; then the replay starts by itself."""
    asked = Replayed(kube, namespace, NAME)
    asked.apply(suspend=True)
    assert "spec.suspend" in asked.says("Progressing", "False", "Suspended")
    kube.kubectl(
        "patch", "chaskireplay", asked.name, "-n", namespace, "--type=merge", "-p", '{"spec": {"suspend": false}}'
    )
    assert NAME in asked.says("Progressing", "False", "RouteNotFound")
    route = OperatedRoute(op, namespace)
    route.apply()
    job = asked.await_job()
    assert job["metadata"]["ownerReferences"][0]["uid"] == (asked.get() or {})["metadata"]["uid"]
    account = kube.get("serviceaccount", job["spec"]["template"]["spec"]["serviceAccountName"], "-n", namespace)
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith("role/chaski-replay")
    pod = JobPod(asked.http, job, tmp_path)
    pod.write_waiting("ErrImagePull", "pull access denied")
    assert "pull access denied" in asked.says("Progressing", "False", "ImagePull")
    kube.kubectl(
        "patch", "chaskireplay", asked.name, "-n", namespace, "--type=merge", "-p", '{"spec": {"suspend": true}}'
    )
    asked.says("Progressing", "False", "Suspended")
    until(lambda: (asked.job() or {"spec": {}})["spec"].get("suspend"), "the Job was not suspended")
    kube.need_controllers()
    kube.kubectl("delete", "chaskireplay", asked.name, "-n", namespace)
    path = jobs_path(namespace, job["metadata"]["name"])
    until(lambda: asked.http.get(path) is None, "the Job outlives its ChaskiReplay")


async def test_target_without_an_allow_rule_fails_at_once(
    kube: KubeApi, route: OperatedRoute, moto: str, queues: tuple[ServerProcess, Path], tmp_path: Path
) -> None:
    """Nothing is sent; the message has the URL and the remedy."""
    await asyncio.to_thread(lambda: asyncio.run(fill(route, moto)))
    moved = Replayed(kube, route.namespace, NAME)

    def run() -> str:
        moved.apply(toURL="https://elsewhere.example")
        pod = JobPod(moved.http, moved.await_job(), tmp_path)
        pod.start()
        assert pod.wait() == 2, pod.log
        pod.finish_job(succeeded=False, reason="PodFailurePolicy")
        return moved.says("Failed", "True", "TargetNotAllowed")

    message = await asyncio.to_thread(run)
    assert "https://elsewhere.example" in message
    assert "spec.targets.allow" in message
    assert on_queues(queues[1], f"{route.namespace}/{NAME}") == {}


def test_missing_permission_is_named_until_it_is_granted(
    op: Operator, kube: KubeApi, route: OperatedRoute, tmp_path: Path
) -> None:
    """With the denied action, the ServiceAccount and the policy; the Job's next Pod continues."""
    denied = {
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "message": "not authorized to perform: dynamodb:Query",
    }
    op.aws.refuse = lambda asked: web.json_response(denied, status=400) if asked.summary == "Query" else None
    asked = Replayed(kube, route.namespace, NAME)
    try:
        asked.apply()
        job = asked.await_job()
        pod = JobPod(asked.http, job, tmp_path)
        pod.start()
        assert pod.wait() == 1, pod.log
        message = asked.says("Progressing", "True", "Retrying")
    finally:
        op.aws.refuse = lambda _: None
    assert "not authorized to perform: dynamodb:Query" in message
    assert f"ServiceAccount chaski-{NAME}.replay needs a role with docs/iam/replayer.json" in message
    pod = JobPod(asked.http, job, tmp_path, 1)
    pod.start()
    assert pod.wait() == 0, pod.log
    pod.finish_job(succeeded=True)
    asked.says("Complete", "True", "Replayed")


def test_routes_are_reconciled_where_replays_are_not_supported(kube: KubeApi, moto: str, tmp_path: Path) -> None:
    """Without the CRD or the permissions for replays routes become Ready; with them replays start."""
    namespace = kube.make_namespace("op")
    with operator(kube, tmp_path, moto, namespace, flags=(*QUICK, *TOOLS)) as op, kubelets(kube, namespace):
        op.api.refuse = lambda asked: web.Response(status=403) if "/chaskireplays" in asked.path else None
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply()
        route.ready()
        waiting = Replayed(kube, namespace, NAME)
        waiting.apply()
        op.quiet(namespace, 2.0)
        assert waiting.status == {}
        assert "can't list chaskireplays: " in op.log.read_text()
        op.api.refuse = lambda _: None
        waiting.await_job()
