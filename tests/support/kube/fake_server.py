"""A fake API server on a free port, and the transports that reach it."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from chaski_runtime.kube.config import KubeAccess, kube_access
from chaski_runtime.kube.official import OfficialTransport
from chaski_runtime.kube.transport import AiohttpTransport, Transport
from support.serving import served_app

EXEC_API = "client.authentication.k8s.io/v1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TransportType = Callable[[KubeAccess, str], Transport]
TRANSPORTS = [pytest.param(AiohttpTransport, id="aiohttp"), pytest.param(OfficialTransport, id="official")]


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[str]:
    """Serves one handler for all paths; returns the server's URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with served_app(app, context, port=port) as url:
        yield url


def tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's TLS."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(certificate, key)
    return made


def exec_plugin(folder: Path, status: Mapping[str, Any] | None, exit_code: int = 0) -> dict[str, Any]:
    """The `exec` entry of a kubeconfig, for a script that prints an ExecCredential and counts its runs in `runs`."""
    credential = {"apiVersion": EXEC_API, "kind": "ExecCredential", "status": status}
    (folder / "credential.json").write_text(json.dumps(credential))
    script = folder / "plugin"
    script.write_text(
        f"#!/bin/sh\necho x >>{folder}/runs\necho 'plugin: not logged in' >&2\ncat {folder}/credential.json\n"
        f"exit {exit_code}\n"
    )
    script.chmod(0o700)
    return {"apiVersion": EXEC_API, "command": str(script), "args": ["get-token"], "installHint": "see example.com"}


def kubeconfig(folder: Path, server: str, user: Mapping[str, Any], **cluster: str) -> KubeAccess:
    """The access by a kubeconfig with one context."""
    document = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server} | cluster}],
        "users": [{"name": "u", "user": dict(user)}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return kube_access({"KUBECONFIG": str(file)})


def runs(folder: Path) -> int:
    """How often the plugin ran."""
    return len((folder / "runs").read_text().split())
