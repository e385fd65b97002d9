"""The kubectl plugin: its commands, against a fake API server."""

import asyncio
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from aiohttp import web

from chaski_cli.__main__ import kubectl
from chaski_cli.cluster.access import ClusterOptions
from chaski_cli.cluster.routes import cluster_location
from chaski_cli.commands.kubectl import make_kubectl_app
from chaski_core.route.resolved_document import load_resolved, resolved_document
from chaski_runtime.process.command_error import CommandError, ExitCode
from support.kube.fake_server import kubeconfig, serving
from support.resolved import resolved_text

PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
COMMANDS = ("status", "dead-letters", "trace", "replay", "targets", "subjects")


def test_kubectl_finds_the_plugin_by_its_name() -> None:
    """`kubectl chaski` runs `kubectl-chaski` of the PATH."""
    scripts = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["scripts"]
    assert scripts["kubectl-chaski"] == f"{kubectl.__module__}:{kubectl.__name__}"


def test_each_command_has_an_example() -> None:
    """Of its own name, with a route."""
    app = make_kubectl_app()
    assert [each.name for each in app.registered_commands] == list(COMMANDS)
    for each in app.registered_commands:
        assert f"kubectl chaski {each.name} shop/orders" in (each.help or "")


async def test_a_route_is_found_by_namespace_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By either form; the commands that it prints for later name the same route and cluster."""
    (resolved,) = load_resolved(resolved_text("orders"))
    written = resolved_document(resolved)
    document = {**written["route"], "status": {"resolved": written["resolved"]}}
    document["metadata"]["generation"] = 1
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(document)

    async with serving(handle) as url:
        kubeconfig(tmp_path, url, {"token": "t"})
        options = ClusterOptions(kubeconfig=tmp_path / "kubeconfig")
        location = await asyncio.to_thread(cluster_location, options, "n/orders")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        await asyncio.to_thread(cluster_location, ClusterOptions("n"), "orders")
        ended = await asyncio.to_thread(run, "targets", "n/orders", "-o", "json")
    assert asked == ["/apis/chaski.dev/v1alpha1/namespaces/n/chaskiroutes/orders"] * 3
    assert location.read_resolved() == resolved
    replay = ["kubectl", "chaski", "replay", "n/orders", "--kubeconfig", str(tmp_path / "kubeconfig")]
    assert location.command("dead-letters", "replay") == replay
    assert [(row["route"], row["target"], row["schemaVersion"]) for row in json.loads(ended.stdout)] == [
        ("n/orders", "t", 1)
    ]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the plugin, as its script does."""
    script = "from chaski_cli.__main__ import kubectl; kubectl()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )


@pytest.mark.parametrize(
    ("name", "namespace"), [("a/b/c", None), ("n/orders", "other"), ("/orders", None), ("n/", None)]
)
def test_another_form_of_a_name_is_wrong_input(tmp_path: Path, name: str, namespace: str | None) -> None:
    """Before any request."""
    kubeconfig(tmp_path, "http://127.0.0.1:9", {"token": "t"})
    with pytest.raises(CommandError) as refused:
        cluster_location(ClusterOptions(namespace, kubeconfig=tmp_path / "kubeconfig"), name)
    assert refused.value.exit_code is ExitCode.WRONG_INPUT


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    """As kubectl does."""
    kubeconfig(tmp_path, "http://127.0.0.1:9", {"token": "t"})
    options = ClusterOptions(context="nope", kubeconfig=tmp_path / "kubeconfig")
    with pytest.raises(CommandError, match='contexts has no entry "nope"'):
        cluster_location(options, "n/orders")
