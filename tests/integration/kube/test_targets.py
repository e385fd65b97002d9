"""`chaski targets` on a real API server."""

import asyncio
import json

import pytest

from chaski_cli.cluster.access import ClusterOptions
from chaski_cli.cluster.targets import run_list, run_suspend
from chaski_runtime.process.command_error import CommandError, ExitCode
from contract.crd.making import changed
from support.kube.api_server import KubeApi

RULES = [{"name": name, "url": f"https://{name}.example/"} for name in ("a", "b")]


async def test_targets_are_held_and_released_one_by_one(
    kube: KubeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two holds stand side by side, releasing one leaves the other, and an apply of the route without the field keeps them."""
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    place = await asyncio.to_thread(kube.make_namespace, "targets")
    route = f"{place}/conversations"
    document = changed({"metadata.namespace": place, "spec.targets.allow": RULES})

    def apply() -> None:
        kube.kubectl("apply", "--server-side", "-f", "-", document=document)

    async def held() -> list[str]:
        assert await asyncio.to_thread(run_list, ClusterOptions(place), None, "json") is ExitCode.OK
        return [row["target"] for row in json.loads(capsys.readouterr().out) if row["reasons"]]

    await asyncio.to_thread(apply)
    for target in ("a", "b"):
        assert await asyncio.to_thread(run_suspend, ClusterOptions(), route, target, suspend=True) is ExitCode.OK
    assert await held() == ["a", "b"]
    await asyncio.to_thread(run_suspend, ClusterOptions(), route, "a", suspend=False)
    await asyncio.to_thread(apply)
    assert await held() == ["b"]
    with pytest.raises(CommandError, match="its targets are a, b"):
        await asyncio.to_thread(run_suspend, ClusterOptions(), route, "c", suspend=True)
