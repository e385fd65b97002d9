"""`chaski console --kubernetes` as a process, on a real API server and stand-ins for SQS and DynamoDB."""

import asyncio
import html
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import Reason
from chaski_core.route.resolved_document import load_resolved, resolved_values
from chaski_runtime.process.clock import SystemClock
from support.aws.emulators import standins
from support.kube.api_server import KubeApi
from support.processes.console import ConsoleProcess, console_process
from support.processes.dev import route
from support.processes.services import Cloud
from support.until import until

pytestmark = pytest.mark.timeout(240)
PASSWORD = "correct horse battery"


@dataclass
class Scene:
    """A namespace, queues and tables, and somebody who may read routes there and nothing else."""

    kube: KubeApi
    namespace: str
    urls: tuple[str, str]
    folder: Path

    def __post_init__(self) -> None:
        user, where = f"console-{self.namespace}", ("-n", self.namespace)
        self.kube.kubectl("create", "role", user, *where, "--verb=get,list,watch", "--resource=chaskiroutes.chaski.dev")
        self.kube.kubectl("create", "rolebinding", user, *where, f"--role={user}", f"--user={user}")
        self.user = user
        (self.folder / "users").write_text(f"ada:{PASSWORD}\n")
        self.clouds: list[Cloud] = []

    @property
    def environment(self) -> dict[str, str]:
        """Of a console."""
        return {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.kube.user_kubeconfig(self.user)),
            "AWS_ENDPOINT_URL_SQS": self.urls[0],
            "AWS_ENDPOINT_URL_DYNAMODB": self.urls[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }

    @property
    def arguments(self) -> tuple[object, ...]:
        """Of a console for this namespace."""
        users = self.folder / "users"
        asked = ("--auth", "password", "--password-file", users, "--metrics-port", "0")
        return ("--kubernetes", "--namespace", self.namespace, *asked)

    def document(self, name: str) -> dict[str, Any]:
        """A route."""
        made = route(name, "http://127.0.0.1:9/")
        return made | {"metadata": {"name": name, "namespace": self.namespace}}

    async def apply(self, name: str) -> None:
        """Applies a route that is not made yet."""
        await asyncio.to_thread(self.kube.kubectl, "apply", "--server-side", "-f", "-", document=self.document(name))

    async def resolve(self, name: str) -> Cloud:
        """Makes its queues and its table, and says so as the operator does."""
        folder = self.folder / name
        folder.mkdir()
        cloud = Cloud(*self.urls, folder)
        self.clouds.append(cloud)
        await cloud.make(self.document(name))
        (resolved,) = load_resolved(cloud.file.read_text())
        where = ("chaskiroute", name, "-n", self.namespace)
        generation = self.kube.get(*where)["metadata"]["generation"]
        status = {"resolved": resolved_values(resolved) | {"observedGeneration": generation}}
        patch = json.dumps({"status": status})
        await asyncio.to_thread(self.kube.kubectl, "patch", *where, "--subresource=status", "--type=merge", "-p", patch)
        return cloud

    async def keep(self, cloud: Cloud, name: str, message_id: str) -> None:
        """Puts a dead letter of the route into its table."""
        url, now = "http://127.0.0.1:9/x", SystemClock().now_ms()
        document = {"subject": "s", "body": {"url": url, "content": "about a llama"}}
        key = f"{self.namespace}/{name}"
        await cloud.keep(
            DeadLetter(
                key, message_id, message_id, "s", now - 5_000, Reason.EXHAUSTED, "503", "target", url, 3, (), document
            )
        )


@pytest.fixture
async def urls(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Of queues and of tables."""
    async with standins("embedded", tmp_path) as made:
        yield made


@dataclass
class Reader:
    """Somebody who has signed in."""

    http: aiohttp.ClientSession
    console: ConsoleProcess

    async def page(self, path: str = "") -> str:
        """A page's text."""
        async with self.http.get(f"{self.console.url}{path}") as answer:
            return await answer.text()

    async def sees(self, path: str, *words: str) -> bool:
        """Whether a page says all of these."""
        text = await self.page(path)
        return all(word in text for word in words)

    async def ready(self) -> bool:
        """Whether the console says that it is."""
        async with self.http.get(self.console.metrics_url.replace("/metrics", "/readyz")) as answer:
            return answer.status == 200

    async def alive(self) -> bool:
        """Whether it needs no restart."""
        async with self.http.get(self.console.metrics_url.replace("/metrics", "/healthz")) as answer:
            return answer.status == 200


async def reader(http: aiohttp.ClientSession, console: ConsoleProcess) -> Reader:
    """Signs ada in."""
    form = {"name": "ada", "password": PASSWORD, "next": "/"}
    async with http.post(f"{console.url}login", data=form) as answer:
        assert str(answer.url) == console.url, await answer.text()
    return Reader(http, console)


def session() -> aiohttp.ClientSession:
    """A browser's worth: cookies of addresses too."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def test_routes_appear_and_vanish_while_it_runs(kube: KubeApi, urls: tuple[str, str], tmp_path: Path) -> None:
    """First with the reason why nothing is known, then with figures, dead letters and replay; at last not at all."""
    scene = Scene(kube, kube.make_namespace("console"), urls, tmp_path)
    arguments = scene.arguments
    async with console_process(tmp_path, scene.environment, *arguments) as console, session() as http:
        ada = await reader(http, console)
        await until(ada.ready)
        assert await ada.sees("", "There is no route yet.")
        await scene.apply("orders")
        await until(lambda: ada.sees("", "orders", "the operator has not made the route&#x27;s queues yet"))
        cloud = await scene.resolve("orders")
        await until(lambda: ada.sees("", f'data-key="{scene.namespace}/orders backlog">0<'))

        await scene.keep(cloud, "orders", "m-1")
        await scene.apply("more")
        await scene.keep(await scene.resolve("more"), "more", "m-2")
        await until(lambda: ada.sees("dead-letters?text=llama", "/dead-letters/m-1", "/dead-letters/m-2"))
        page = await ada.page("dead-letters?text=llama")
        page = await ada.page(f"dead-letters?text=llama&subject=s&route={scene.namespace}/orders")
        document = re.search(r"<pre>kubectl create -f - .+?\n(.+)\nEND</pre>", page, re.DOTALL)
        assert document is not None
        kube.kubectl("create", "--dry-run=server", "-f", "-", document=json.loads(html.unescape(document[1])))
        token = re.search(r'name="token" value="(\w+)"', page)
        assert token is not None
        form = {"token": token[1], "action": "replay", "id": f"{scene.namespace}/orders m-1"}
        async with http.post(f"{console.url}dead-letters", data=form) as answer:
            assert "1 sent again" in await answer.text()
        assert await cloud.lying() == 1
        await until(lambda: ada.sees("", f'data-key="{scene.namespace}/orders backlog">1<'))

        kube.kubectl("delete", "chaskiroute", "orders", "-n", scene.namespace)
        async with asyncio.timeout(60):
            while "orders" in await ada.page():
                await asyncio.sleep(0.1)
        assert not await ada.sees("dead-letters?text=llama", "/dead-letters/m-1")
        assert await ada.sees("dead-letters?text=llama", "/dead-letters/m-2")
        assert [line["user.name"] for line in await console.told("replay")] == ["ada"]
        assert await console.stop() == 0
    await asyncio.gather(*(each.close() for each in scene.clouds))


@pytest.mark.promise(10)
async def test_what_is_known_is_shown_while_the_api_server_is_away(
    own_kube: KubeApi, urls: tuple[str, str], tmp_path: Path
) -> None:
    """And the page says so. A console that starts meanwhile knows nothing, says that, and recovers by itself."""
    scene = Scene(own_kube, "default", urls, tmp_path)
    await scene.apply("orders")
    cloud = await scene.resolve("orders")
    await scene.keep(cloud, "orders", "m-1")
    away, figures = "The Kubernetes API server can&#x27;t be read", 'data-key="default/orders backlog">0<'
    async with console_process(tmp_path, scene.environment, *scene.arguments) as console, session() as http:
        ada = await reader(http, console)
        await until(lambda: ada.sees("", figures))
        assert not await ada.sees("", away)
        await asyncio.to_thread(own_kube.down)
        await until(lambda: ada.sees("", away, "as they were last known", figures))
        assert await ada.sees("dead-letters?text=llama", away, "/dead-letters/m-1")
        assert await ada.ready()
        assert await ada.alive()
    async with console_process(tmp_path, scene.environment, *scene.arguments) as console, session() as http:
        ada = await reader(http, console)
        await until(lambda: ada.sees("", away, "the routes are not known yet"))
        assert not await ada.ready()
        assert await ada.alive()
        await asyncio.to_thread(own_kube.up)
        await until(lambda: ada.sees("", figures))
        assert await ada.ready()
        assert not await ada.sees("", away)
        assert await console.stop() == 0
    await cloud.close()


@pytest.mark.promise(9)
async def test_a_table_that_is_gone_hides_no_other_route(kube: KubeApi, urls: tuple[str, str], tmp_path: Path) -> None:
    """What can't be read is named, and what can be is shown."""
    scene = Scene(kube, kube.make_namespace("console"), urls, tmp_path)
    for name in ("orders", "broken"):
        await scene.apply(name)
    await scene.keep(await scene.resolve("orders"), "orders", "m-1")
    await scene.resolve("broken")
    where = ("chaskiroute", "broken", "-n", scene.namespace)
    patch = json.dumps({"status": {"resolved": {"deadLetterTable": "chaski-no-such-table"}}})
    kube.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", patch)
    async with console_process(tmp_path, scene.environment, *scene.arguments) as console, session() as http:
        ada = await reader(http, console)
        await until(lambda: ada.sees("", "orders backlog", "broken backlog"))
        left_out = f"{scene.namespace}/broken: "
        await until(lambda: ada.sees("dead-letters?text=llama", "/dead-letters/m-1", left_out))
        assert await ada.sees("dead-letters/none", "Away", "broken")
        assert await console.stop() == 0
    await asyncio.gather(*(each.close() for each in scene.clouds))
