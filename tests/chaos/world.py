"""All processes of a run: a real API server with its controllers, moto, two operators behind gates, and a client of the admin."""

import asyncio
import contextlib
import json
import random
import signal
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from campaign.machine import now
from campaign.programs import BIN, Program
from chaos.evidence import Call
from chaos.gate import Gate
from chaos.plan import CONTROL, INSTALLATION, NAMESPACES, Key
from chaski_aws.provision.clients import BotoAws
from chaski_runtime.kube.config import kube_access
from support.aws.moto_server import MotoServer
from support.kube import certificates
from support.kube.api_server import KubeApi, kube_api
from support.operator.processes import kubelets
from support.operator.provisioning import boto

_UNDISTURBED_LEASE_SECONDS = 600  # nothing competes for it
OPERATORS = ("operator-a", "operator-b")
SYSTEM = "chaos-system"  # namespace of the Lease
#: Short, so that a run of a minute has many resyncs, and queues of older generations are deleted within it.
FLAGS = (
    "--resync-seconds", "10", "--busy-seconds", "0.5", "--drained-seconds", "1", "--fence-seconds", "0",
    "--installation", INSTALLATION, "--lease-namespace", SYSTEM,
    "--worker-image", "registry.example/worker:1", "--host", "127.0.0.1", "--metrics-port", "0",
)  # fmt: skip
_ROUTES = "/apis/chaski.dev/v1alpha1"
_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_CALL_SECONDS, _ANSWER_SECONDS = 15.0, 300.0  # for one attempt, and for all
_RETRY_SECONDS = 0.5
_START_SECONDS = 300.0  # of an operator, on a busy machine


class Admin:
    """Requests to the API server itself, without a gate; each is repeated until the API server answers."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    async def get(self, path: str) -> Any:
        """An object or a list; None if it does not exist."""
        return await self._call("GET", path)

    async def items(self, path: str) -> list[Any]:
        """The objects of a list."""
        return list((await self.get(path) or {"items": ()})["items"])

    async def route(self, key: Key) -> Any:
        """A ChaskiRoute; None if it does not exist."""
        return await self.get(route_path(key))

    async def apply(self, path: str, document: Mapping[str, Any]) -> Any:
        """Server-side apply."""
        return await self._call("PATCH", f"{path}?fieldManager=chaos&force=true", json.dumps(document), _APPLY)

    async def delete(self, path: str) -> None:
        """Deletes an object."""
        await self._call("DELETE", path)

    async def _call(self, method: str, path: str, data: str | None = None, headers: Mapping[str, str] = {}) -> Any:
        deadline, last = now() + _ANSWER_SECONDS, ""
        while now() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.request(method, self._server + path, data=data, headers=headers) as answer:
                    body = await answer.read()
                    if answer.status == 404:
                        return None
                    if answer.status < 300:
                        return json.loads(body)
                    last = body.decode()
                    if answer.status in (400, 403, 422):
                        break
            await asyncio.sleep(_RETRY_SECONDS)
        raise RuntimeError(f"{method} {path}: {last or 'no answer'}")


def route_path(key: Key) -> str:
    """The path of a ChaskiRoute."""
    return f"{_ROUTES}/namespaces/{key[0]}/chaskiroutes/{key[1]}"


@dataclass
class World:
    """The running processes."""

    folder: Path
    kube: KubeApi
    admin: Admin
    aws: Gate
    account: BotoAws  # moto, without the gate
    lease_seconds: int
    gates: list[Gate] = field(default_factory=list)  # of the operators, in their order
    operators: list[Program] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _holder: tuple[int, str] = (0, "")  # number of calls that were searched; the holder by them

    def holder(self) -> str:
        """Identity of the holder of the Lease, by what its answers contained."""
        seen, holder = self._holder
        for call in self.calls[seen:]:
            if call.is_lease and call.writes and call.succeeded:
                holder = call.holder
        self._holder = max(0, len(self.calls) - 50), holder
        return holder


@asynccontextmanager
async def world(folder: Path, seed: int, lease_seconds: int, *, everywhere: bool) -> AsyncIterator[World]:
    """Starts all processes; ends them at the end.

    Args:
        folder: an empty folder for logs.
        seed: of the gates' choices.
        lease_seconds: after which an operator takes over.
        everywhere: the operators serve all namespaces, not named ones.
    """
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(_api_server(folder / "kube"))
        moto = await asyncio.to_thread(MotoServer)
        stack.push_async_callback(asyncio.to_thread, moto.stop)
        access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.ssl_context()),
            timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS),
        )
        await stack.enter_async_context(session)
        calls: list[Call] = []
        aws = Gate("", moto.url, None, random.Random(f"{seed}/aws"), calls)
        await stack.enter_async_context(aws.running())
        made = World(
            folder, kube, Admin(kube.server, session), aws, boto(moto.url, moto.url), lease_seconds, calls=calls
        )
        for name in OPERATORS:
            gate = await stack.enter_async_context(_gate(made, name, seed))
            made.gates.append(gate)
            made.operators.append(_program(made, gate, () if everywhere else NAMESPACES))
        stack.push_async_callback(_end, made.operators)
        stack.enter_context(kubelets(kube, *NAMESPACES, *control_namespaces()))
        yield made


@asynccontextmanager
async def undisturbed(made: World) -> AsyncIterator[Program]:
    """An operator of the control namespaces, not started yet."""
    async with _gate(made, CONTROL, 0) as gate:
        program = _program(made, gate, control_namespaces())
        try:
            yield program
        finally:
            await _end([program])


def control_namespaces() -> tuple[str, ...]:
    """Namespaces of the undisturbed operator."""
    return tuple(control_of(each) for each in NAMESPACES)


def control_of(namespace: str) -> str:
    """The control namespace for one of `NAMESPACES`."""
    return f"{CONTROL}-{namespace.rpartition('-')[2]}"


@asynccontextmanager
async def _api_server(folder: Path) -> AsyncIterator[KubeApi]:
    opened = kube_api(folder)
    kube = await asyncio.to_thread(opened.__enter__)
    try:
        kube.need_controllers()
        await asyncio.to_thread(kube.install_crds)
        for each in (SYSTEM, *NAMESPACES, *control_namespaces()):
            await asyncio.to_thread(kube.kubectl, "create", "namespace", each)
        yield kube
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


@asynccontextmanager
async def _gate(made: World, name: str, seed: int) -> AsyncIterator[Gate]:
    """A gate before the API server that the operator's certificate identifies."""
    groups = ["system:masters"]
    access = kube_access({"KUBECONFIG": str(made.kube.user_kubeconfig(name, groups))})
    gate = Gate(name, made.kube.server, access.ssl_context(), random.Random(f"{seed}/{name}"), made.calls)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(made.kube.folder / "apiserver.crt", made.kube.folder / "apiserver.key")
    async with gate.running(server):
        certificates.user_kubeconfig(made.kube.folder, gate.url, name, groups)
        yield gate


def _program(made: World, gate: Gate, namespaces: Sequence[str]) -> Program:
    served = [part for each in namespaces for part in ("--namespace", each)]
    seconds = made.lease_seconds if gate.by in OPERATORS else _UNDISTURBED_LEASE_SECONDS
    lease = ("--lease-name", gate.by.partition("-")[0], "--lease-seconds", str(seconds))
    command = (BIN / "chaski-operator", "--identity", gate.by, *lease, *FLAGS, *served)
    environment = {
        "KUBECONFIG": str(made.kube.folder / f"{gate.by}.kubeconfig"),
        "AWS_ENDPOINT_URL_SQS": made.aws.url, "AWS_ENDPOINT_URL_DYNAMODB": made.aws.url,  # workers get them too
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": gate.by,  # by which the gate of AWS distinguishes the operators
        "AWS_SECRET_ACCESS_KEY": "any",
    }  # fmt: skip
    program = Program(gate.by, made.folder, command, environment)
    program.start_seconds = _START_SECONDS
    return program


async def _end(programs: Sequence[Program]) -> None:
    for each in programs:
        each.signal(signal.SIGCONT)
        await each.kill()
