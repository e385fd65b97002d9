"""`chaski targets` against a fake API server: what it prints, and the patch that it sends."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chaski_cli.cluster.access import ClusterOptions
from chaski_cli.cluster.targets import run_list, run_suspend, suspend_operations, target_rows
from chaski_runtime.process.command_error import CommandError, ExitCode
from support.kube.fake_server import kubeconfig, serving

NS = ClusterOptions("ns")
PATH = "/apis/chaski.dev/v1alpha1/namespaces/ns/chaskiroutes/r"
ROUTE: dict[str, Any] = {
    "metadata": {"name": "r", "namespace": "ns"},
    "spec": {
        "targets": {
            "allow": [
                {
                    "name": "a",
                    "url": "https://a.example/",
                    "limits": {"ratePerSecond": 50, "concurrency": 4, "per": "Rule"},
                },
                {"name": "b", "url": "https://b.example/", "suspend": True},
                {"name": "c", "url": "https://c.example/", "suspend": False},
            ]
        }
    },
    "status": {
        "targets": [
            {"name": "a", "reasons": ["Breaker"], "heldSince": "2026-11-30T10:00:00Z"},
            {"name": "c", "reasons": ["Suspended"], "heldSince": "2026-11-30T09:00:00Z"},
        ]
    },
}


def test_rows_join_the_spec_and_the_status() -> None:
    """What a person has just suspended or released is shown at once; what workers report, as the operator has written it."""
    rows = target_rows([ROUTE])
    assert [(row.target, row.reasons, row.held_since) for row in rows] == [
        ("a", ("Breaker",), "2026-11-30T10:00:00Z"),
        ("b", ("Suspended",), None),
        ("c", (), None),
    ]


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (None, "-"),
        ({"ratePerSecond": 50, "burst": 100}, "50/s, burst 100, per host"),
        ({"concurrency": 4, "per": "Rule"}, "4 at once, per rule"),
    ],
)
def test_limits_are_shown_as_the_spec_declares_them(limits: dict[str, Any] | None, text: str) -> None:
    """For people; JSON has the fields of the spec."""
    rule = {"name": "a", "url": "https://a.example/"} | ({"limits": limits} if limits else {})
    (row,) = target_rows([{"metadata": {"name": "r", "namespace": "ns"}, "spec": {"targets": {"allow": [rule]}}}])
    assert row.limits_text == text


def test_the_patch_names_the_rule_that_it_changes() -> None:
    """So that it fails where the list has changed meanwhile; an unknown target is refused with those that exist."""
    assert suspend_operations(ROUTE, "c", suspend=True) == [
        {"op": "test", "path": "/spec/targets/allow/2/name", "value": "c"},
        {"op": "add", "path": "/spec/targets/allow/2/suspend", "value": True},
    ]
    with pytest.raises(CommandError, match='no target "x"; its targets are a, b, c'):
        suspend_operations(ROUTE, "x", suspend=True)


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Points the kubeconfig at a server."""

    def at(url: str) -> None:
        kubeconfig(tmp_path, url, {"token": "t"})
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    return at


async def test_list_and_release(use: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    """A change that another one has overtaken is tried again."""
    patches: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            assert request.path == PATH
            patches.append(await request.json())
            if len(patches) == 1:
                return web.json_response({"kind": "Status", "reason": "Invalid", "message": "test failed"}, status=422)
        return web.json_response(ROUTE if request.path == PATH else {"items": [ROUTE]})

    async with serving(handle) as url:
        use(url)
        assert await asyncio.to_thread(run_list, NS, None, "json") is ExitCode.OK
        listed = json.loads(capsys.readouterr().out)
        assert listed[0] == {
            "schemaVersion": 1,
            "route": "ns/r",
            "target": "a",
            "url": "https://a.example/",
            "reasons": ["Breaker"],
            "heldSince": "2026-11-30T10:00:00Z",
            "limits": {"ratePerSecond": 50, "concurrency": 4, "per": "Rule"},
        }
        assert await asyncio.to_thread(run_list, NS, "r", "table") is ExitCode.OK
        assert "Suspended" in capsys.readouterr().out
        assert await asyncio.to_thread(run_suspend, ClusterOptions(), "ns/r", "b", suspend=False) is ExitCode.OK
    assert len(patches) == 2
    assert patches[1] == suspend_operations(ROUTE, "b", suspend=False)


async def test_a_route_that_does_not_exist_is_wrong_input(use: Callable[[str], None]) -> None:
    """With the next step."""

    async def handle(_request: web.Request) -> web.Response:
        body = {"kind": "Status", "reason": "NotFound", "message": 'chaskiroutes "r" not found'}
        return web.json_response(body, status=404)

    async with serving(handle) as url:
        use(url)
        with pytest.raises(CommandError) as refused:
            await asyncio.to_thread(run_suspend, NS, "r", "a", suspend=True)
    assert refused.value.exit_code is ExitCode.WRONG_INPUT
    assert "kubectl get chaskiroutes" in refused.value.next_step
