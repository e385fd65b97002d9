"""Credentials are rotated under running processes, on a real API server: the operator, an ingest and a console go on."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from support.aws.moto_server import MotoServer
from support.kube import certificates
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, operator
from support.operator.routes import OperatedRoute
from support.processes.console import ConsoleProcess, console_process
from support.processes.services import Service
from support.until import until

pytestmark = pytest.mark.timeout(400)

SECONDS = 120.0
AGENTS = ("kopf", "chaski-operator", "chaski-ingest", "chaski-console")


@pytest.fixture
def moto() -> Iterator[str]:
    """An AWS account."""
    server = MotoServer()
    yield server.url
    server.stop()


def replace(file: Path, content: str) -> None:
    """As a kubelet does: another file takes the name."""
    other = file.with_suffix(".new")
    other.write_text(content)
    other.replace(file)


class Credentials:
    """A kubeconfig whose files the test rotates."""

    def __init__(self, kube: KubeApi, folder: Path, kind: str) -> None:
        folder.mkdir()
        self.kube = kube
        self.folder = folder
        self.kind = kind
        self.environment: dict[str, str] = {"KUBECONFIG": str(folder / "kubeconfig")}
        files = {"tokenFile": "token"}
        if kind == "certificate":
            files = {"client-certificate": "client.crt", "client-key": "client.key"}
        cluster = {"server": kube.server, "certificate-authority": "ca.crt"}
        document = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": files}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(document))
        replace(folder / "ca.crt", kube.ca.read_text())

    def use(self, user: str) -> str:
        """Replaces the user's files by those of an administrator of this name; returns his name in the audit log."""
        if self.kind == "certificate":
            certificates.user_kubeconfig(self.kube.folder, self.kube.server, user, ["system:masters"])
            for end in ("crt", "key"):  # in between, they do not match
                replace(self.folder / f"client.{end}", (self.kube.folder / f"{user}.{end}").read_text())
            return user
        self.kube.kubectl("create", "serviceaccount", user)
        self.kube.kubectl(
            "create", "clusterrolebinding", user, "--clusterrole=cluster-admin", f"--serviceaccount=default:{user}"
        )
        replace(self.folder / "token", self.kube.kubectl("create", "token", user) + "\n")
        return f"system:serviceaccount:default:{user}"


@dataclass
class Running:
    """The processes, and what they show."""

    op: Operator
    ingest: Service
    console: ConsoleProcess
    http: aiohttp.ClientSession

    async def follow(self, name: str) -> None:
        """A new route is provisioned, accepted from and shown: three watches have reported it."""
        route = OperatedRoute(self.op, "default", name)
        await asyncio.to_thread(route.apply)
        await until(lambda: asyncio.to_thread(lambda: bool(route.queues())), SECONDS)
        await until(lambda: self._accepts(name), SECONDS)
        await until(lambda: self._shows(name), SECONDS)
        assert self.op.process is not None
        assert self.op.process.poll() is None

    async def _accepts(self, name: str) -> bool:
        url = f"{self.ingest.ready['chaski.ingest.url']}/v1/routes/default/{name}/messages"
        message = {"subject": "s", "body": {"url": "https://t.example/"}}
        async with self.http.post(url, json=message) as answer:
            return answer.status == 202

    async def _shows(self, name: str) -> bool:
        async with self.http.get(self.console.url) as answer:
            return f"default/{name}" in await answer.text()


@contextlib.asynccontextmanager
async def running(kube: KubeApi, folder: Path, moto: str, credentials: Credentials) -> AsyncIterator[Running]:
    """Started processes with these credentials. Listings would follow only after ten minutes what a watch misses."""
    credentials.environment |= {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL_SQS": moto,
        "AWS_ENDPOINT_URL_DYNAMODB": moto,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    with operator(kube, folder, moto, "default", flags=("--resync-seconds", "600", "--fence-seconds", "0")) as op:
        op.environment = credentials.environment
        op.start()
        command = ("chaski-ingest", "--auth", "none", "--kubernetes", "--port", "0")
        ingest = Service(credentials, folder / "ingest.log", *command)
        await ingest.start()
        flags = ("--kubernetes", "--auth", "none", "--host", "127.0.0.1")
        try:
            async with (
                console_process(folder, credentials.environment, *flags) as console,
                aiohttp.ClientSession() as http,
            ):
                yield Running(op, ingest, console, http)
        finally:
            await ingest.end()


@pytest.mark.promise(10)
@pytest.mark.parametrize("kind", ["certificate", "token"])
async def test_rotated_credentials_are_followed_without_a_restart(
    own_kube: KubeApi, tmp_path: Path, moto: str, kind: str
) -> None:
    """The CA: first both are on disk, then the API server shows the new one's certificate. And who they are."""
    credentials = Credentials(own_kube, tmp_path / "credentials", kind)
    first = credentials.use("first")
    async with running(own_kube, tmp_path, moto, credentials) as processes:
        await processes.follow("one")

        server, new = own_kube.folder, tmp_path / "new"
        certificates.make_all(new, own_kube.server, "new")
        both = own_kube.ca.read_text() + (new / "ca.crt").read_text()
        replace(credentials.folder / "ca.crt", both)
        second = await asyncio.to_thread(credentials.use, "second")
        if kind == "token":
            await asyncio.to_thread(own_kube.kubectl, "delete", "serviceaccount", "first")
        await asyncio.to_thread(own_kube.down)
        replace(own_kube.ca, both)
        for end in ("crt", "key"):
            shutil.copy(new / f"apiserver.{end}", server / f"apiserver.{end}")
        await asyncio.to_thread(own_kube.up)
        await processes.follow("two")
        replace(credentials.folder / "ca.crt", (new / "ca.crt").read_text())
        await processes.follow("three")

        by_user = {
            user: {each.get("userAgent", "").partition("/")[0] for each in own_kube.requests(user)}
            for user in (first, second)
        }
        assert by_user[first] >= set(AGENTS)
        assert by_user[second] >= set(AGENTS)
