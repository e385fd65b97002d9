"""Both transports make the same calls, and the official client's credentials are accepted, by a real API server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaski_operator.kube.login import connection_info
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path
from chaski_runtime.kube.config import KubeAccess, kube_access
from chaski_runtime.kube.official import OfficialTransport
from support.kube.api_server import KubeApi as Server
from support.kube.fake_server import EXEC_API, TRANSPORTS, TransportType

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW_BODY = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


def config_map(name: str, **data: str | None) -> dict[str, Any]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_call_works(kube: Server, transport: TransportType) -> None:
    """Create, read, list, replace, apply, both patches, delete, with the errors of the API server."""
    namespace = kube.make_namespace()
    all_of = object_path("v1", "configmaps", namespace)
    one = object_path("v1", "configmaps", namespace, "a")
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    async with KubeApi(access, user_agent="test", transport=transport) as api:
        assert await api.find(one) is None
        made = await api.create(all_of, config_map("a", x="é"))
        with pytest.raises(KubeRefusedError, match="AlreadyExists"):
            await api.create(all_of, config_map("a"))
        assert (await api.get(one))["data"] == {"x": "é"}
        listed = await api.get(all_of, fieldSelector="metadata.name=a", limit="1")
        assert [each["metadata"]["name"] for each in listed["items"]] == ["a"]
        await api.replace(one, made | {"data": {"y": "1"}})
        with pytest.raises(KubeRefusedError, match="Conflict") as refused:
            await api.replace(one, made)
        assert refused.value.status == 409
        applied = await api.apply(one, config_map("a", z="2"), manager="test")
        assert applied["data"] == {"y": "1", "z": "2"}
        assert (await api.apply(one, config_map("a"), manager="test"))["data"] == {"y": "1"}
        assert "data" not in await api.merge_patch(one, {"data": {"y": None}})
        await api.json_patch(one, [{"op": "add", "path": "/data", "value": {"k": "v"}}])
        with pytest.raises(KubeRefusedError) as refused:
            await api.json_patch(one, [{"op": "test", "path": "/data/k", "value": "other"}])
        assert refused.value.status == 422
        assert await api.delete(one, uid="another") is False
        assert await api.delete(one, uid=made["metadata"]["uid"]) is True
        assert await api.delete(one) is False
        version = listed["metadata"]["resourceVersion"]
        events = [
            each["type"]
            async for each in api.watch(all_of, version, fieldSelector="metadata.name=a", timeout_seconds=1)
        ]
        assert [each for each in events if each != "BOOKMARK"] == ["MODIFIED"] * 5 + ["DELETED"]


def changed(kube: Server, folder: Path, user: dict[str, Any]) -> KubeAccess:
    """The admin's kubeconfig with another user entry."""
    document = yaml.safe_load(kube.kubeconfig.read_text())
    document["users"] = [{"name": "u", "user": user}]
    (folder / "config").write_text(yaml.safe_dump(document))
    return kube_access({"KUBECONFIG": str(folder / "config")})


async def user_of(access: KubeAccess) -> dict[str, Any]:
    """Whom the API server takes the client for."""
    async with KubeApi(access, user_agent="test", transport=OfficialTransport) as api:
        found: dict[str, Any] = (await api.create(REVIEW, REVIEW_BODY))["status"]["userInfo"]
        return found


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_any_text_can_be_applied(kube: Server, transport: TransportType) -> None:
    """The API server reads the body as YAML, which refuses characters and escapes that JSON allows."""
    namespace = kube.make_namespace()
    text = "".join(map(chr, [*range(0x20, 0x100), 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x1F999, 0x10FFFF]))
    texts = {"controls": "".join(map(chr, range(0x20))), "others": text, "llama": "\U0001f999 \\ud83e"}
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    async with KubeApi(access, user_agent="test", transport=transport) as api:
        one = object_path("v1", "configmaps", namespace, "a")
        assert (await api.apply(one, config_map("a", **texts), manager="test"))["data"] == texts


async def test_the_token_of_a_plugin_is_accepted(kube: Server, tmp_path: Path) -> None:
    """A script that asks for one each time, as clouds' plugins do; kopf logs in by it too."""
    namespace = kube.make_namespace()
    script = tmp_path / "plugin"
    script.write_text(
        f"#!/bin/sh\ntoken=$({kube.programs}/kubectl --kubeconfig={kube.kubeconfig} create token default -n {namespace})\n"
        f"""printf '{{"apiVersion":"{EXEC_API}","kind":"ExecCredential","status":{{"token":"%s"}}}}' "$token"\n"""
    )
    script.chmod(0o700)
    access = changed(kube, tmp_path, {"exec": {"command": "./plugin", "apiVersion": EXEC_API}})
    name = f"system:serviceaccount:{namespace}:default"
    assert (await user_of(access))["username"] == name
    info = await connection_info(access)
    asked = ["curl", "-sS", "--cacert", str(info.ca_path), "-H", f"Authorization: {info.scheme} {info.token}"]
    body = [
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps(REVIEW_BODY),
    ]
    ran = subprocess.run([*asked, *body, info.server + REVIEW], capture_output=True, text=True, check=True)  # noqa: ASYNC221 - nothing else runs
    assert name in ran.stdout


async def test_an_impersonated_user_has_its_own_rights_only(kube: Server, tmp_path: Path) -> None:
    """Not those of the admin whose certificate is used."""
    admin = yaml.safe_load(kube.kubeconfig.read_text())["users"][0]["user"]
    access = changed(kube, tmp_path, admin | {"as": "bob", "as-groups": ["support", "eu"]})
    user = await user_of(access)
    assert (user["username"], user["groups"]) == ("bob", ["support", "eu", "system:authenticated"])
    async with KubeApi(access, user_agent="test", transport=OfficialTransport) as api:
        with pytest.raises(KubeRefusedError, match='User "bob" cannot list resource "configmaps"'):
            await api.get("/api/v1/configmaps")


async def test_two_files_make_one_configuration(kube: Server, tmp_path: Path) -> None:
    """The clusters in one, one's own credentials in the other."""
    document = yaml.safe_load(kube.kubeconfig.read_text())
    own = {key: document.pop(key) for key in ("users", "contexts", "current-context")}
    (tmp_path / "clusters").write_text(yaml.safe_dump(document))
    (tmp_path / "own").write_text(yaml.safe_dump(own))
    access = kube_access({"KUBECONFIG": f"{tmp_path / 'clusters'}:{tmp_path / 'own'}"})
    assert (await user_of(access))["username"] == "admin"
