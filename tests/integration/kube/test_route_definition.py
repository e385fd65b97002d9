"""A real API server accepts exactly the ChaskiRoutes that our own validation accepts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from chaski_core.route.default_retry import default_retry, with_kept_retry
from chaski_core.route.loading import validate
from chaski_core.route.model import Ordering
from chaski_core.route.validation.crd import definition_text
from contract.crd.making import changed
from contract.crd.odd_values import odd_documents
from support.kube.api_server import KubeApi
from support.kube.http import ROUTES, KubeHttp
from support.until import until

DRY_RUN = "dryRun=All&fieldValidation=Strict"


def refusal(http: KubeHttp, place: str, document: dict[str, Any]) -> str | None:
    """The API server's message if it refuses the route in a namespace, otherwise None."""
    document["metadata"]["namespace"] = place
    return http.refusal("POST", f"{ROUTES}/namespaces/{place}/chaskiroutes?{DRY_RUN}", document)


def test_odd_values_are_accepted_or_refused_by_both(kube: KubeApi) -> None:
    """Else a route would be stored, and then not be accepted by the operator."""
    place, http = kube.make_namespace("definition"), KubeHttp(kube)
    differing = {}
    for name, document in odd_documents():
        server, ours = refusal(http, place, document), validate(document)
        if (server is None) != (not ours):
            differing[name] = (server, [str(each) for each in ours])
    assert differing == {}


def test_routes_are_selected_by_fields(kube: KubeApi) -> None:
    """With their defaults: a route that sets none of them is found too."""
    place = kube.make_namespace("fields")
    for name, more in (
        ("plain", {}),
        ("strict", {"spec.ordering": "Strict"}),
        ("stopped", {"spec.suspend": {"delivery": True}, "spec.autoscaling": {"mode": "External"}}),
    ):
        kube.kubectl(
            "create", "-f", "-", document=changed({"metadata.name": name, "metadata.namespace": place, **more})
        )
    for selector, found in (
        ("spec.suspend.delivery=true", {"stopped"}),
        ("spec.suspend.ingest=false,spec.ordering=Relaxed", {"plain", "stopped"}),
        ("spec.ordering=Strict", {"strict"}),
        ("spec.autoscaling.mode=BuiltIn,spec.deletionPolicy=Retain", {"plain", "strict"}),
    ):
        listed = kube.kubectl("get", "chaskiroutes", "-n", place, "--field-selector", selector, "-o", "name").split()
        assert {each.rpartition("/")[2] for each in listed} == found


RUNGS = [{"name": "fast", "delaySeconds": 5}, {"name": "slow", "delaySeconds": 900}]
LADDERS = [
    {"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]},
    {"class": "404", "retriesPerRung": 2, "rungs": ["slow"]},
]


def test_server_side_apply_owns_empty_lists_of_retry(kube: KubeApi) -> None:
    """`rungs: []` means no retries; a list of which the manager owned nothing would be dropped, and a default take its place."""
    place = kube.make_namespace("lists")
    for size in (2, 1, 0, 2):
        retry = {"rungs": RUNGS[:size], "ladders": LADDERS[:size]}
        document = changed({"metadata.namespace": place, "spec.retry": retry})
        kube.kubectl("apply", "--server-side", "-f", "-", document=document)
        stored = kube.get("chaskiroute", "conversations", "-n", place)["spec"]["retry"]
        assert stored == {**retry, "maxRetryAfterSeconds": 3600}


def test_status_keeps_the_retry_in_force(kube: KubeApi) -> None:
    """Nothing of it is pruned, so that the operator finds what it has resolved, and does not write the status again."""
    place, http = kube.make_namespace("resolved"), KubeHttp(kube)
    declared = {"outcomes": [{"statuses": ["410"], "result": "Discard", "keep": False}], "maxRetryAfterSeconds": 0}
    for name, retry in (
        ("relaxed", default_retry(Ordering.RELAXED)),
        ("strict", default_retry(Ordering.STRICT)),
        ("own", {"rungs": RUNGS, "ladders": LADDERS, **declared}),
    ):
        document = changed({"metadata.name": name, "metadata.namespace": place, "spec.ordering": "Strict"})
        kube.kubectl("create", "-f", "-", document=document)
        queues = [{"name": "messages", "urls": ["https://q/1"]}]
        resolved = {"generation": 1, "generations": [{"number": 1, "queues": queues}], "observedGeneration": 1}
        status = {"status": {"resolved": {**resolved, "retry": retry}}}
        path = f"{ROUTES}/namespaces/{place}/chaskiroutes/{name}"
        stored = http.merge_patch(f"{path}/status", status)
        assert stored["status"]["resolved"]["retry"] == retry
        kept = with_kept_retry(stored)
        assert kept is not None
        assert kept["spec"]["retry"] == retry
        suspended = http.merge_patch(path, {"spec": {"suspend": {"delivery": True}}})
        assert with_kept_retry(suspended) is None


REMOVE_RETRY = '[{"op": "remove", "path": "/spec/retry"}]'
KIND, PLURAL, GROUP = "UpgradedRoute", "upgradedroutes", "upgrade.chaski.dev"  # beside the ChaskiRoutes of other tests


def definition() -> dict[str, Any]:
    """The definition of a ChaskiRoute under another name."""
    loaded: dict[str, Any] = yaml.safe_load(definition_text())
    loaded["metadata"]["name"] = f"{PLURAL}.{GROUP}"
    loaded["spec"]["group"] = GROUP
    loaded["spec"]["names"] = {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower()}
    return loaded


def first_definition() -> dict[str, Any]:
    """As `definition`, with `retry` as the first definition had it: lists that merge by key, and a default."""
    loaded = definition()
    retry = loaded["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["retry"]
    retry["default"] = {"rungs": RUNGS, "ladders": LADDERS}
    for name, key in (("rungs", "name"), ("ladders", "class")):
        retry["properties"][name] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return loaded


@contextmanager
def installed(kube: KubeApi, first: dict[str, Any]) -> Iterator[None]:
    """Installs a definition, and deletes it at the end."""
    name = first["metadata"]["name"]
    kube.kubectl("apply", "--server-side", "-f", "-", document=first)
    try:
        kube.kubectl("wait", "--for=create", "--timeout=60s", f"crd/{name}")
        kube.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{name}")
        yield
    finally:
        kube.kubectl("delete", "crd", name)


async def test_update_of_the_definition_keeps_what_routes_retry(kube: KubeApi) -> None:
    """Lists that merged by key become atomic: the owner of an entry owns the list, and no value changes."""
    place = kube.make_namespace("upgrade")

    def route(name: str, **retry: Any) -> dict[str, Any]:
        document = changed({"metadata.name": name, "metadata.namespace": place, **retry})
        return {**document, "apiVersion": f"{GROUP}/v1alpha1", "kind": KIND}

    def stored(name: str) -> Any:
        return kube.get(KIND, name, "-n", place)["spec"].get("retry")

    def apply(document: dict[str, Any], manager: str = "gitops", *more: str) -> str:
        arguments = ("apply", "--server-side", f"--field-manager={manager}", "-f", "-", *more)
        return kube.try_kubectl(*arguments, document=document).stderr

    own = {"rungs": RUNGS, "ladders": LADDERS, "maxRetryAfterSeconds": 60}
    first_default = {"rungs": RUNGS, "ladders": LADDERS, "maxRetryAfterSeconds": 3600}
    with installed(kube, first_definition()):
        assert apply(route("own", **{"spec.retry": own})) == ""
        assert apply(route("default")) == ""
        kube.kubectl("apply", "--server-side", "-f", "-", document=definition())
        assert stored("own") == own
        # Another manager may not change a part of the list, while the one that owned the entries changes it as a whole.
        less = route("own", **{"spec.retry": {**own, "ladders": LADDERS[:1]}})
        await until(lambda: ".spec.retry.ladders" in apply(less, "another", "--dry-run=server"))
        none = {"rungs": [], "ladders": [], "maxRetryAfterSeconds": 60}
        assert apply(route("own", **{"spec.retry": none})) == ""
        assert stored("own") == none
        # The first default was stored with the route; to apply the same manifest again does not remove it.
        assert stored("default") == first_default
        assert apply(route("default")) == ""
        assert stored("default") == first_default
        kube.kubectl("patch", KIND, "default", "-n", place, "--type=json", "-p", REMOVE_RETRY)
        assert stored("default") is None
