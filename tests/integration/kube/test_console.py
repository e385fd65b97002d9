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

from chaski_core.route.resolved_document import load_resolved, resolved_values
from support.aws.emulators import running_emulators
from support.console_users import users_text
from support.dead_letters.builder import a_dead_letter_to_find
from support.kube.api_server import KubeApi
from support.processes.console import ConsoleProcess, console_process
from support.processes.dev import route
from support.processes.services import Cloud
from support.until import until

pytestmark = pytest.mark.timeout(240)
PASSWORD = "correct horse battery"


@dataclass
class Context:
    """A namespace, queues and tables, and a Kubernetes user who may only read routes there."""

    kube: KubeApi
    namespace: str
    urls: tuple[str, str]
    folder: Path

    def __post_init__(self) -> None:
        user, where = f"console-{self.namespace}", ("-n", self.namespace)
        self.kube.kubectl("create", "role", user, *where, "--verb=get,list,watch", "--resource=chaskiroutes.chaski.dev")
        self.kube.kubectl("create", "rolebinding", user, *where, f"--role={user}", f"--user={user}")
        self.user = user
        (self.folder / "users").write_text(users_text(ada=PASSWORD))
        self.clouds: list[Cloud] = []

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a console."""
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
        """Flags of a console for this namespace."""
        users = self.folder / "users"
        flags = ("--auth", "password", "--password-file", users, "--metrics-port", "0")
        return ("--kubernetes", "--namespace", self.namespace, *flags)

    def document(self, name: str) -> dict[str, Any]:
        """A ChaskiRoute."""
        made = route(name, "http://127.0.0.1:9/")
        return made | {"metadata": {"name": name, "namespace": self.namespace}}

    async def apply(self, name: str) -> None:
        """Applies a route without a status."""
        await asyncio.to_thread(self.kube.kubectl, "apply", "--server-side", "-f", "-", document=self.document(name))

    async def resolve(self, name: str) -> Cloud:
        """Creates its queues and its table, and writes the status as the operator does."""
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

    async def put_dead_letter(self, cloud: Cloud, name: str, message_id: str) -> None:
        """Stores a dead letter in the table of the route."""
        await cloud.keep(a_dead_letter_to_find(f"{self.namespace}/{name}", message_id))


@pytest.fixture
async def urls(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Endpoints of SQS and of DynamoDB."""
    async with running_emulators("embedded", tmp_path) as made:
        yield made


@dataclass
class LoggedInUser:
    """A user with a session of a console."""

    http: aiohttp.ClientSession
    console: ConsoleProcess

    async def page(self, path: str = "") -> str:
        """The text of a page."""
        async with self.http.get(f"{self.console.url}{path}") as response:
            return await response.text()

    async def sees(self, path: str, *words: str) -> bool:
        """Whether a page contains all words."""
        text = await self.page(path)
        return all(word in text for word in words)

    async def ready(self) -> bool:
        """Whether /readyz is 200."""
        async with self.http.get(self.console.metrics_url.replace("/metrics", "/readyz")) as response:
            return response.status == 200

    async def alive(self) -> bool:
        """Whether /healthz is 200."""
        async with self.http.get(self.console.metrics_url.replace("/metrics", "/healthz")) as response:
            return response.status == 200


async def log_in(http: aiohttp.ClientSession, console: ConsoleProcess) -> LoggedInUser:
    """Logs ada in."""
    form = {"name": "ada", "password": PASSWORD, "next": "/"}
    async with http.post(f"{console.url}login", data=form) as response:
        assert str(response.url) == console.url, await response.text()
    return LoggedInUser(http, console)


def session() -> aiohttp.ClientSession:
    """A client session that keeps cookies, also of IP addresses."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def test_routes_appear_and_disappear(kube: KubeApi, urls: tuple[str, str], tmp_path: Path) -> None:
    """First unserved with the reason, then with figures, dead letters and replay, and finally deleted."""
    context = Context(kube, kube.make_namespace("console"), urls, tmp_path)
    arguments = context.arguments
    async with console_process(tmp_path, context.environment, *arguments) as console, session() as http:
        ada = await log_in(http, console)
        await until(ada.ready)
        assert await ada.sees("", "There are no routes yet.")
        await context.apply("orders")
        await until(lambda: ada.sees("", "orders", "the operator has not"))
        cloud = await context.resolve("orders")
        await until(lambda: ada.sees("", f'data-key="{context.namespace}/orders backlog">0<'))

        await context.put_dead_letter(cloud, "orders", "m-1")
        await context.apply("more")
        await context.put_dead_letter(await context.resolve("more"), "more", "m-2")
        await until(lambda: ada.sees("dead-letters?text=llama", "/dead-letters/m-1", "/dead-letters/m-2"))
        page = await ada.page("dead-letters?text=llama")
        page = await ada.page(f"dead-letters?text=llama&subject=s&route={context.namespace}/orders")
        document = re.search(r"<pre>kubectl create -f - .+?\n(.+)\nEND</pre>", page, re.DOTALL)
        assert document is not None
        kube.kubectl("create", "--dry-run=server", "-f", "-", document=json.loads(html.unescape(document[1])))
        token = re.search(r'name="token" value="([\w-]+)"', page)
        assert token is not None
        form = {"token": token[1], "action": "replay", "id": f"{context.namespace}/orders m-1"}
        async with http.post(f"{console.url}dead-letters", data=form) as response:
            assert "1 replayed" in await response.text()
        assert await cloud.lying() == 1
        await until(lambda: ada.sees("", f'data-key="{context.namespace}/orders backlog">1<'))

        kube.kubectl("delete", "chaskiroute", "orders", "-n", context.namespace)
        async with asyncio.timeout(60):
            while "orders" in await ada.page():
                await asyncio.sleep(0.1)
        assert not await ada.sees("dead-letters?text=llama", "/dead-letters/m-1")
        assert await ada.sees("dead-letters?text=llama", "/dead-letters/m-2")
        assert [line["user.name"] for line in await console.wait_for_lines("replay")] == ["ada"]
        assert await console.stop() == 0
    await asyncio.gather(*(each.close() for each in context.clouds))


@pytest.mark.promise(10)
async def test_known_routes_are_shown_while_the_api_server_is_unavailable(
    own_kube: KubeApi, urls: tuple[str, str], tmp_path: Path
) -> None:
    """With a notice. A console that starts meanwhile is not ready, and recovers."""
    context = Context(own_kube, "default", urls, tmp_path)
    await context.apply("orders")
    cloud = await context.resolve("orders")
    await context.put_dead_letter(cloud, "orders", "m-1")
    stale, figures = "The Kubernetes API server can&#39;t be read", 'data-key="default/orders backlog">0<'
    async with console_process(tmp_path, context.environment, *context.arguments) as console, session() as http:
        ada = await log_in(http, console)
        await until(lambda: ada.sees("", figures))
        assert not await ada.sees("", stale)
        await asyncio.to_thread(own_kube.down)
        await until(lambda: ada.sees("", stale, "last known routes", figures))
        assert await ada.sees("dead-letters?text=llama", stale, "/dead-letters/m-1")
        assert await ada.ready()
        assert await ada.alive()
    async with console_process(tmp_path, context.environment, *context.arguments) as console, session() as http:
        ada = await log_in(http, console)
        await until(lambda: ada.sees("", stale, "No routes are known yet"))
        assert not await ada.ready()
        assert await ada.alive()
        await asyncio.to_thread(own_kube.up)
        await until(lambda: ada.sees("", figures))
        assert await ada.ready()
        assert not await ada.sees("", stale)
        assert await console.stop() == 0
    await cloud.close()


@pytest.mark.promise(9)
async def test_a_missing_table_hides_no_other_route(kube: KubeApi, urls: tuple[str, str], tmp_path: Path) -> None:
    """The unreadable route is named, and the others are shown."""
    context = Context(kube, kube.make_namespace("console"), urls, tmp_path)
    for name in ("orders", "broken"):
        await context.apply(name)
    await context.put_dead_letter(await context.resolve("orders"), "orders", "m-1")
    await context.resolve("broken")
    where = ("chaskiroute", "broken", "-n", context.namespace)
    patch = json.dumps({"status": {"resolved": {"deadLetterTable": "chaski-no-such-table"}}})
    kube.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", patch)
    async with console_process(tmp_path, context.environment, *context.arguments) as console, session() as http:
        ada = await log_in(http, console)
        await until(lambda: ada.sees("", "orders backlog", "broken backlog"))
        unreadable = f"{context.namespace}/broken: "
        await until(lambda: ada.sees("dead-letters?text=llama", "/dead-letters/m-1", unreadable))
        assert await ada.sees("dead-letters/none", "Service unavailable", "broken")
        assert await console.stop() == 0
    await asyncio.gather(*(each.close() for each in context.clouds))
