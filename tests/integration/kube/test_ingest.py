"""`chaski-ingest --kubernetes` as a process, on a real API server and the embedded queues' SQS protocol."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.aws.embedded_sqs import ServerProcess, connect
from support.kube.api_server import KubeApi
from support.kube.endpoints import endpoint_slice
from support.processes.services import BIN, Service
from support.until import until

DENY = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage"}]}


@dataclass
class Scene:
    """A namespace, queues, and an ingest whose only right is to read the namespace's routes."""

    kube: KubeApi
    namespace: str
    sqs_url: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        user = f"ingest-{self.namespace}"
        name = ["-n", self.namespace]
        self.kube.kubectl("create", "role", user, *name, "--verb=get,list,watch", "--resource=chaskiroutes.chaski.dev")
        self.kube.kubectl("create", "rolebinding", user, *name, f"--role={user}", f"--user={user}")
        self.environment = {
            "KUBECONFIG": str(self.kube.user_kubeconfig(user)),
            "AWS_ENDPOINT_URL_SQS": self.sqs_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        self.sqs = connect(self.sqs_url)

    def make_queue(self, name: str) -> str:
        """Creates a FIFO queue and returns its URL."""
        attributes = {
            "FifoQueue": "true",
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
        }
        return self.sqs.create_queue(QueueName=f"{self.namespace}-{name}.fifo", Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]

    def messages(self, url: str) -> int:
        """The number of messages on a queue."""
        name = "ApproximateNumberOfMessages"
        return int(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])  # type: ignore[list-item, index]

    def apply_route(self, name: str, **spec: Any) -> int:
        """Applies a route with one queue and returns its generation."""
        route = {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "queues": [{"name": "messages"}],
                "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
                **spec,
            },
        }
        self.kube.kubectl("apply", "--server-side", "-f", "-", document=route)
        generation: int = self.kube.get("chaskiroute", name, "-n", self.namespace)["metadata"]["generation"]
        return generation

    def resolve(self, name: str, generation: int, number: int, *urls: str) -> None:
        """Writes a route's resolved status, as the operator does."""
        made = {
            "generation": number,
            "generations": [{"number": number, "queues": [{"name": "messages", "urls": list(urls)}]}],
            "observedGeneration": generation,
        }
        patch = json.dumps({"status": {"resolved": made}})
        where = ("chaskiroute", name, "-n", self.namespace)
        self.kube.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", patch)

    def service(self, *more: str) -> Service:
        """An ingest, not started."""
        command = ("chaski-ingest", "--auth", "none", "--kubernetes", *more, "--port", "0")
        return Service(self, self.folder / "ingest.log", *command)


@pytest.fixture
def sqs(tmp_path: Path) -> Iterator[str]:
    """The URL of an embedded SQS server."""
    server = ServerProcess(tmp_path / "queues")
    yield server.url
    server.terminate()


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator["Client"]:
    """A started ingest."""
    await service.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Client(http, service)
            assert await service.stop() == 0
    finally:
        await service.end()


@dataclass
class Client:
    """A client of an ingest."""

    http: aiohttp.ClientSession
    service: Service

    async def send(self, route: str, subject: str = "s") -> tuple[int, dict[str, Any]]:
        """Sends one message and returns status and body of the response."""
        url = f"{self.service.ready['chaski.ingest.url']}/v1/routes/{route}/messages"
        async with self.http.post(url, json={"subject": subject, "body": {"url": "https://t.example/"}}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def answers(self, route: str, status: int, word: str = "") -> bool:
        """Whether a message gets that status, and a detail with `word`."""
        got, body = await self.send(route)
        return got == status and word in body.get("detail", "")

    async def ready(self) -> bool:
        """The result of the readiness probe."""
        url = self.service.ready["chaski.metrics.url"].replace("/metrics", "/readyz")
        async with self.http.get(url) as answer:
            return answer.status == 200


async def test_routes_are_added_changed_and_removed_while_it_runs(kube: KubeApi, sqs: str, tmp_path: Path) -> None:
    """A route without queues gets the 404 of an unknown one; a blocked queue gets 503 until the new map is seen."""
    scene = Scene(kube, kube.make_namespace("ingest"), sqs, tmp_path)
    route = f"{scene.namespace}/orders"
    first, second = scene.make_queue("one"), scene.make_queue("two")
    async with running(scene.service("--namespace", scene.namespace)) as client:
        await until(client.ready)
        assert await client.answers(route, 404, "no route")
        generation = scene.apply_route("orders")
        await until(lambda: "has not created the queues of the route yet" in client.service.log.read_text())
        assert await client.answers(route, 404, "no route")
        scene.resolve("orders", generation, 1, first)
        await until(lambda: client.answers(route, 202))
        assert scene.messages(first) == 1

        generation = scene.apply_route("orders", queues=[{"name": "messages", "partitions": 2}])
        assert await client.answers(route, 202)  # the old map is still in use
        scene.sqs.set_queue_attributes(QueueUrl=first, Attributes={"Policy": json.dumps(DENY)})
        assert await client.answers(route, 503, "AccessDenied")
        scene.resolve("orders", generation, 2, second, second)
        await until(lambda: client.answers(route, 202))
        assert (scene.messages(first), scene.messages(second)) == (2, 1)

        scene.apply_route("orders", queues=[{"name": "messages", "partitions": 2}], suspend={"ingest": True})
        await until(lambda: client.answers(route, 429))
        kube.kubectl("delete", "chaskiroute", "orders", "-n", scene.namespace)
        await until(lambda: client.answers(route, 404, "no route"))


@pytest.mark.promise(10)
async def test_known_routes_are_served_while_the_api_server_is_unavailable(
    own_kube: KubeApi, sqs: str, tmp_path: Path
) -> None:
    """An ingest that starts in the meantime is not ready, and recovers by itself."""
    scene = Scene(own_kube, "default", sqs, tmp_path)
    queue = scene.make_queue("one")
    scene.resolve("orders", scene.apply_route("orders"), 1, queue)
    async with running(scene.service("--namespace", "default")) as client:
        await until(lambda: client.answers("default/orders", 202))
        await asyncio.to_thread(own_kube.down)
        for _ in range(20):
            assert await client.answers("default/orders", 202)
            await asyncio.sleep(0.1)
        assert await client.ready()
    async with running(scene.service("--namespace", "default")) as client:
        assert not await client.ready()
        assert await client.answers("default/orders", 503, "not loaded yet")
        await asyncio.to_thread(own_kube.up)
        await until(lambda: client.answers("default/orders", 202))
        assert await client.ready()


async def test_without_the_right_to_list_it_is_not_ready_and_logs_the_reason(
    kube: KubeApi, sqs: str, tmp_path: Path
) -> None:
    """It retries: the right may be granted later."""
    scene = Scene(kube, kube.make_namespace("ingest"), sqs, tmp_path)
    async with running(scene.service()) as client:  # all namespaces, but only one is allowed
        assert not await client.ready()
        await until(lambda: "chaskiroutes.chaski.dev is forbidden" in (tmp_path / "ingest.log").read_text())
        user = f"ingest-{scene.namespace}"
        kube.kubectl("create", "clusterrole", user, "--verb=get,list,watch", "--resource=chaskiroutes.chaski.dev")
        kube.kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")
        await until(client.ready)


async def test_without_a_cluster_the_command_exits_with_2(tmp_path: Path) -> None:
    """And names what is missing."""
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path)}
    for more, part in (
        ([], "no Kubernetes API server is configured"),
        (["--routes", "x"], "either --routes or --kubernetes"),
    ):
        process = await asyncio.create_subprocess_exec(
            BIN / "chaski-ingest", "--auth", "none", "--kubernetes", *more,
            stderr=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        _, error = await process.communicate()
        assert (process.returncode, part in error.decode()) == (2, True)


async def test_producers_are_authenticated_by_default(kube: KubeApi, sqs: str, tmp_path: Path) -> None:
    """With `--kubernetes` alone: tokens by TokenReview, for the producers that the route lists."""
    scene = Scene(kube, kube.make_namespace("ingest"), sqs, tmp_path)
    user, queue = f"ingest-{scene.namespace}", scene.make_queue("one")
    kube.kubectl("create", "clusterrole", f"{user}-reviews", "--verb=create", "--resource=tokenreviews")
    kube.kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}-reviews", f"--user={user}")
    generation = scene.apply_route("orders", producers=[{"namespace": scene.namespace, "serviceAccount": "default"}])
    scene.resolve("orders", generation, 1, queue)
    command = ("chaski-ingest", "--kubernetes", "--namespace", scene.namespace, "--port", "0")
    async with running(Service(scene, tmp_path / "ingest.log", *command)) as client:
        await until(lambda: client.answers(f"{scene.namespace}/orders", 401, "missing credentials"))
        token = kube.token(scene.namespace, "default", "chaski")
        client.http.headers["Authorization"] = f"Bearer {token}"
        assert (await client.send(f"{scene.namespace}/orders"))[0] == 202
    assert scene.messages(queue) == 1
    assert b"request denied with 401" in (tmp_path / "ingest.log").read_bytes()
    assert token.encode() not in (tmp_path / "ingest.log").read_bytes()


@pytest.mark.promise(14)
async def test_the_ready_pods_of_the_service_share_a_rate(kube: KubeApi, sqs: str, tmp_path: Path) -> None:
    """One of two gets a message each second of two; it is ready once it knows their number."""
    scene = Scene(kube, kube.make_namespace("ingest"), sqs, tmp_path)
    namespace, user, queue = scene.namespace, f"ingest-{scene.namespace}", scene.make_queue("one")
    right = ("--verb=list,watch", "--resource=endpointslices.discovery.k8s.io", "-n", namespace)
    kube.kubectl("create", "role", "peers", *right)
    kube.kubectl("create", "rolebinding", "peers", "--role=peers", f"--user={user}", "-n", namespace)
    kube.kubectl("apply", "-n", namespace, "-f", "-", document=endpoint_slice("s", "IPv4", ("a", True), ("b", True)))
    producer = {"apiKeySha256": [hashlib.sha256(b"a key").hexdigest()], "ratePerSecond": 2}
    scene.resolve("orders", scene.apply_route("orders", producers=[producer]), 1, queue)
    where = ("--namespace", namespace, "--peers", f"{namespace}/chaski-ingest")
    command = ("chaski-ingest", "--kubernetes", "--auth", "keys", *where, "--port", "0")
    async with running(Service(scene, tmp_path / "ingest.log", *command)) as client:
        await until(client.ready)
        client.http.headers["Authorization"] = "Bearer a key"
        await until(lambda: client.answers(f"{namespace}/orders", 429, "shared by 2 ingest Pods"))
    assert scene.messages(queue) >= 1
