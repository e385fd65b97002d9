"""The objects of a route on a real API server, as one reconciliation after another finds them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chaski_core.route.loading import load_route
from chaski_operator.kube.apply import Applied, Applier, ForeignObjectError
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.manifests.kinds import Object, kind_of
from chaski_operator.manifests.manifests import desired_objects
from chaski_operator.settings import WorkerPodTemplate
from chaski_runtime.kube.client import KubeApi as Client
from chaski_runtime.kube.client import KubeRefusedError, object_path
from chaski_runtime.kube.config import kube_access
from support.kube.api_server import KubeApi
from support.operator.routes import route
from unit.operator.builders import resolved_of

pytestmark = pytest.mark.timeout(600)

THIEF = {"spec": {"template": {"spec": {"hostNetwork": True, "containers": [{"name": "thief", "image": "evil"}]}}}}


class RouteDeletedError(Exception):
    """What the reconciler raises where the route is not the observed one any more."""


class Scene:
    """The objects of one route in a namespace of its own. The cache is empty before each reconciliation."""

    def __init__(self, kube: KubeApi, api: Client) -> None:
        self.kube, self.api = kube, api
        self.namespace = kube.make_namespace("apply")
        # It exists, so that the garbage collector leaves its objects alone.
        kube.kubectl("apply", "-f", "-", document=route(self.namespace))
        self.uid = kube.get("chaskiroute", "orders", "-n", self.namespace)["metadata"]["uid"]

    def desired(self, image: str = "registry.example/worker:1") -> list[Object]:
        """The manifests."""
        resolved = resolved_of(load_route(route(self.namespace)))
        return desired_objects(resolved, self.uid, WorkerPodTemplate(image=image))

    async def apply(
        self,
        image: str = "registry.example/worker:1",
        *,
        remove: bool = False,
        cache: ObjectCache | None = None,
        deleted: bool = False,
    ) -> Applied:
        """One reconciliation. `cache`: what was observed before; `deleted`: the route does not exist when it is read again."""

        async def confirm() -> None:
            if deleted:
                raise RouteDeletedError

        applier = Applier(self.api, cache or ObjectCache(), remove_additions=remove)
        return await applier.apply(self.desired(image), confirm)

    async def observed(self) -> ObjectCache:
        """A cache with the objects of the route as they are now."""
        cache = ObjectCache()
        for document in self.desired():
            kind, metadata = kind_of(document), document["metadata"]
            path = object_path(kind.api_version, kind.plural, metadata["namespace"], metadata["name"])
            cache.put(kind, await self.api.get(path))
        return cache

    def delete(self, what: str, name: str) -> None:
        """`kubectl delete`, until it is gone."""
        self.kube.kubectl("delete", what, name, "-n", self.namespace)

    def name(self) -> str:
        """Name of the first Deployment."""
        return next(str(each["metadata"]["name"]) for each in self.desired() if each["kind"] == "Deployment")

    def patch(self, body: Any, kind: str = "strategic", what: str = "deployment", name: str = "") -> None:
        """`kubectl patch`."""
        where = (what, name or self.name(), "-n", self.namespace)
        self.kube.kubectl("patch", *where, f"--type={kind}", "-p", json.dumps(body))

    def live(self, what: str = "deployment", name: str = "") -> Any:
        """A live object."""
        return self.kube.get(what, name or self.name(), "-n", self.namespace, "--show-managed-fields")

    def pod(self) -> Any:
        """The Pod template's spec of the Deployment."""
        return self.live()["spec"]["template"]["spec"]


@pytest.fixture
async def scene(kube: KubeApi) -> AsyncIterator[Scene]:
    """Everything is applied."""
    async with Client(kube_access({"KUBECONFIG": str(kube.kubeconfig)}), user_agent="chaski-operator") as api:
        made = await asyncio.to_thread(Scene, kube, api)
        assert await made.apply() == Applied()
        yield made


async def test_a_change_by_others_is_corrected_and_a_new_manifest_is_no_correction(scene: Scene) -> None:
    """Nothing is written where nothing differs."""
    version = scene.live()["metadata"]["resourceVersion"]
    assert await scene.apply() == Applied()
    assert scene.live()["metadata"]["resourceVersion"] == version
    scene.patch({"spec": {"template": {"spec": {"enableServiceLinks": True}}}})
    (corrected,) = (await scene.apply()).corrected
    assert corrected == f"Deployment {scene.name()} (spec.template.spec.enableServiceLinks)"
    assert (await scene.apply(image="registry.example/worker:2")).corrected == []
    assert scene.pod()["containers"][0]["image"] == "registry.example/worker:2"


async def test_additions_are_reported_or_removed(scene: Scene) -> None:
    """The operator owns its fields afterwards as before."""
    scene.patch(THIEF)
    added = (await scene.apply()).added
    assert [each.rpartition("spec.template.spec.")[2] for each in added] == [
        "containers[thief] by kubectl-patch",
        "hostNetwork by kubectl-patch",
    ]
    assert (await scene.apply(remove=True)).added == []
    assert await scene.apply() == Applied()
    assert [each["name"] for each in scene.pod()["containers"]] == ["worker"]
    assert "hostNetwork" not in scene.pod()


async def test_record_of_managers_that_was_removed_is_made_again(scene: Scene) -> None:
    """With it the additions go, which are taken for defaults then."""
    scene.patch(THIEF)
    scene.patch([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}], "json")
    assert len((await scene.apply()).corrected) == 1
    assert await scene.apply() == Applied()
    assert [each["name"] for each in scene.pod()["containers"]] == ["worker"]
    assert {each["manager"] for each in scene.live()["metadata"]["managedFields"]} == {"chaski-operator"}


async def test_orphan_is_replaced_as_a_whole(scene: Scene) -> None:
    """With nothing that it had besides."""
    name = f"chaski-{scene.desired()[0]['metadata']['labels']['chaski.dev/route']}"
    orphaned = [{"op": "remove", "path": "/metadata/ownerReferences"}]
    scene.patch(THIEF)
    scene.patch({"data": {"other": "x"}}, "merge", "configmap", name)
    for what, each in (("deployment", scene.name()), ("configmap", name)):
        scene.patch(orphaned, "json", what, each)
    assert len((await scene.apply()).corrected) == 2
    assert await scene.apply() == Applied()
    assert list(scene.live("configmap", name)["data"]) == ["resolved.yaml"]
    assert [each["name"] for each in scene.pod()["containers"]] == ["worker"]
    assert scene.live()["metadata"]["ownerReferences"][0]["uid"] == scene.uid


@pytest.mark.promise(7)
async def test_foreign_controller_is_never_touched(scene: Scene) -> None:
    """Whatever labels and hash the object has."""
    await asyncio.to_thread(scene.kube.kubectl, "create", "configmap", "other", "-n", scene.namespace)
    uid = scene.live("configmap", "other")["metadata"]["uid"]
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": uid, "controller": True}
    scene.patch({"metadata": {"ownerReferences": [other]}}, "merge")
    version = scene.live()["metadata"]["resourceVersion"]
    with pytest.raises(ForeignObjectError):
        await scene.apply()
    assert scene.live()["metadata"]["resourceVersion"] == version


@pytest.mark.promise(7)
@pytest.mark.parametrize("case", ["change", "addition", "orphan"])
async def test_object_that_was_deleted_since_it_was_observed_is_not_made_again(scene: Scene, case: str) -> None:
    """Its route was deleted with it; a server-side apply alone would create it."""
    if case == "addition":
        scene.patch(THIEF)
    if case == "orphan":
        scene.patch([{"op": "remove", "path": "/metadata/ownerReferences"}], "json")
    cache = await scene.observed()
    await asyncio.to_thread(scene.delete, "deployment", scene.name())
    image = "registry.example/worker:2" if case == "change" else "registry.example/worker:1"
    with pytest.raises(RouteDeletedError):
        await scene.apply(image, cache=cache, remove=True, deleted=True)
    assert scene.kube.try_kubectl("get", "deployment", scene.name(), "-n", scene.namespace).returncode == 1
    assert await scene.apply(image, cache=cache, remove=True) == Applied()  # the route exists after all
    assert scene.live()["metadata"]["ownerReferences"][0]["uid"] == scene.uid


@pytest.mark.promise(7)
async def test_object_of_another_that_has_taken_the_place_of_a_deleted_one_is_not_touched(scene: Scene) -> None:
    """The cache still has the route's own, which differed from its manifest."""
    name = f"chaski-{scene.desired()[0]['metadata']['labels']['chaski.dev/route']}"
    scene.patch({"data": {"resolved.yaml": "changed"}}, "merge", "configmap", name)
    cache = await scene.observed()
    await asyncio.to_thread(scene.delete, "configmap", name)
    scene.kube.kubectl("create", "configmap", name, "-n", scene.namespace, "--from-literal=resolved.yaml=another")
    with pytest.raises(KubeRefusedError):
        await scene.apply(cache=cache)
    with pytest.raises(ForeignObjectError):
        await scene.apply(cache=cache)
    assert scene.live("configmap", name)["data"] == {"resolved.yaml": "another"}
