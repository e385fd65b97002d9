"""The cache of objects: watches that lag, listings that race with changes, an API server whose etcd was restored."""

from typing import Any

import pytest

from chaski_operator.kube.cache import ObjectCache, key_of, used_part
from chaski_operator.manifests.comparison import difference
from chaski_operator.manifests.kinds import CONFIG_MAP, DEPLOYMENT, KINDS, POD, REPLAY, ROUTE, Kind


def document(
    name: str = "a", version: int = 1, *, namespace: str = "ns", route: str = "", **metadata: Any
) -> dict[str, Any]:
    """An object as the API server returns it; its uid is its name's, unless another is given. `route`: its owner."""
    whole: dict[str, Any] = {"namespace": namespace, "name": name, "uid": f"uid-{name}"}
    whole["resourceVersion"] = str(version)
    owned = {"labels": {"chaski.dev/route": route}, "ownerReferences": [owner(route)]} if route else {}
    return {"metadata": whole | owned | metadata}


def owner(route: str, kind: str = "ChaskiRoute", group: str = "chaski.dev") -> dict[str, Any]:
    """An owner reference with `controller`."""
    return {"apiVersion": f"{group}/v1alpha1", "kind": kind, "name": route, "uid": f"uid-{route}", "controller": True}


@pytest.fixture
def cache() -> ObjectCache:
    """Empty."""
    return ObjectCache()


def version(cache: ObjectCache, name: str = "a") -> str | None:
    """The known version of a route."""
    found = cache.get(ROUTE, "ns", name)
    return None if found is None else str(found["metadata"]["resourceVersion"])


@pytest.mark.promise(7)
def test_watch_that_lags_behind_a_write_changes_nothing(cache: ObjectCache) -> None:
    """The result of a write is known before its event, and before those of earlier writes."""
    assert cache.put(ROUTE, document(version=10))
    assert not cache.put(ROUTE, document(version=9))
    assert not cache.put(ROUTE, document(version=10))
    assert version(cache) == "10"


def test_deleted_object_is_removed_and_its_successor_stays(cache: ObjectCache) -> None:
    """By uid."""
    cache.put(ROUTE, document(uid="new", version=5))
    cache.remove(ROUTE, document(uid="old", version=4))
    assert version(cache) == "5"
    cache.remove(ROUTE, document(uid="new", version=6))
    assert version(cache) is None


@pytest.mark.promise(7)
def test_object_deleted_during_a_listing_does_not_return(cache: ObjectCache) -> None:
    """The response is from before the deletion; also if the object was not known before."""
    cache.put(ROUTE, document("known"))
    with cache.listing(ROUTE, None) as listing:
        cache.remove(ROUTE, document("known"))
        cache.remove(ROUTE, document("unknown"))
        assert cache.replace(listing, [document("known"), document("unknown")]) == []
    assert (version(cache, "known"), version(cache, "unknown")) == (None, None)


@pytest.mark.promise(7)
@pytest.mark.parametrize("kind", [ROUTE, REPLAY, DEPLOYMENT, CONFIG_MAP], ids=lambda kind: str(kind.plural))
def test_object_created_or_changed_during_a_listing_stays(cache: ObjectCache, kind: Kind) -> None:
    """The response does not have it yet, or has its earlier state."""
    cache.put(kind, document("changed", 3, route="orders"))
    with cache.listing(kind, None) as listing:
        cache.put(kind, document("created", 8, route="orders"))
        cache.put(kind, document("changed", 9, route="orders"))
        assert cache.replace(listing, [document("changed", 3, route="orders")]) == []
    versions = {name: each["metadata"]["resourceVersion"] for (_, name), each in cache.by_key(kind).items()}
    assert versions == {"created": "8", "changed": "9"}


@pytest.mark.promise(7)
def test_state_of_a_deleted_object_that_arrives_late_is_ignored(cache: ObjectCache) -> None:
    """The response of a write, or kopf's own listing; another object of the same name is not meant."""
    cache.put(ROUTE, document("event", 3))
    cache.remove(ROUTE, document("event", 5))
    cache.put(ROUTE, document("listing", 3))
    with cache.listing(ROUTE, None) as listing:
        cache.replace(listing, [])
    assert not cache.put(ROUTE, document("event", 4))
    assert not cache.put(ROUTE, document("listing", 4))
    assert (version(cache, "event"), version(cache, "listing")) == (None, None)
    assert cache.put(ROUTE, document("event", 6, uid="its successor"))


def test_object_that_a_restored_etcd_has_again_is_known_again(cache: ObjectCache) -> None:
    """A listing that began after its deletion has it."""
    cache.put(ROUTE, document(version=3))
    cache.remove(ROUTE, document(version=5))
    with cache.listing(ROUTE, None) as listing:
        assert cache.replace(listing, [document(version=3)]) == [document(version=3)]
    assert cache.put(ROUTE, document(version=4))


@pytest.mark.promise(12)
def test_a_bounded_number_of_deleted_objects_is_remembered(cache: ObjectCache) -> None:
    """Those that were deleted last."""
    for number in range(5_000):
        cache.remove(ROUTE, document(f"r{number}"))
    assert cache.put(ROUTE, document("r0", 9))
    assert not cache.put(ROUTE, document("r4999", 9))


def test_change_of_another_kind_is_not_mistaken_for_one_of_the_listed_kind(cache: ObjectCache) -> None:
    """A ConfigMap may have the name of a Deployment."""
    with cache.listing(DEPLOYMENT, None) as listing:
        cache.put(CONFIG_MAP, document(route="orders"))
        listed = document(route="orders")
        assert cache.replace(listing, [listed]) == [listed]


def test_listing_with_lower_versions_is_taken(cache: ObjectCache) -> None:
    """An etcd that was restored from a backup counts on from the version of the backup."""
    cache.put(ROUTE, document("a", 380))
    cache.put(ROUTE, document("lost", 381))
    with cache.listing(ROUTE, None) as listing:
        changes = cache.replace(listing, [document("a", 296)])
    assert [key_of(each)[1] for each in changes] == ["lost", "a"]
    assert (version(cache), version(cache, "lost")) == ("296", None)
    assert cache.put(ROUTE, document("a", 297))


def test_listing_of_a_namespace_leaves_the_others_alone(cache: ObjectCache) -> None:
    """It returns what was added, changed or removed there, and nothing that was known."""
    cache.put(ROUTE, document("same", 1))
    cache.put(ROUTE, document("old", 2))
    cache.put(ROUTE, document("other", 3, namespace="other"))
    with cache.listing(ROUTE, "ns") as listing:
        changes = cache.replace(listing, [document("same", 1), document("new", 4)])
    assert [key_of(each)[1] for each in changes] == ["old", "new"]
    assert set(cache.by_key(ROUTE)) == {("ns", "same"), ("ns", "new"), ("other", "other")}


def test_objects_are_found_by_the_route_that_owns_them(cache: ObjectCache) -> None:
    """As it is now; Pods, by their label, are not among those that the operator creates."""
    cache.put(DEPLOYMENT, document("d", 1, route="orders"))
    cache.put(CONFIG_MAP, document("c", 2, route="orders"))
    pod = {**document("p", 3, route="orders"), "spec": {"containers": []}}
    cache.put(POD, pod)
    assert [each["kind"] for each in cache.owned("ns", "orders")] == ["ConfigMap", "Deployment"]
    assert [each["metadata"]["name"] for each in cache.of_route(POD, "ns", "orders")] == ["p"]
    cache.put(DEPLOYMENT, document("d", 4, route="returns"))
    assert cache.of_route(DEPLOYMENT, "ns", "orders") == []
    assert len(cache.of_route(DEPLOYMENT, "ns", "returns")) == 1


@pytest.mark.promise(12)
def test_only_the_used_part_of_a_pod_is_kept(cache: ObjectCache) -> None:
    """A Pod has several KiB, of which the autoscaler needs the address, the ports and the readiness."""
    conditions = [{"type": "Ready", "status": "True"}]
    cache.put(
        POD,
        {
            **document("p", annotations={"large": "x" * 1000}, managedFields=[{}]),
            "spec": {"containers": [{"image": "i", "ports": [{"name": "metrics"}]}], "volumes": [{}]},
            "status": {"podIP": "10.0.0.1", "conditions": conditions, "containerStatuses": [{}]},
        },
    )
    kept = cache.get(POD, "ns", "p")
    assert kept is not None
    assert set(kept["metadata"]) == {"namespace", "name", "uid", "resourceVersion"}
    assert kept["spec"] == {"containers": [{"ports": [{"name": "metrics"}]}]}
    assert kept["status"] == {"podIP": "10.0.0.1", "conditions": conditions}


@pytest.mark.promise(12)
@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([], id="label-only"),
        pytest.param([{**owner("orders"), "controller": False}], id="no-controller"),
        pytest.param([owner("orders", "Deployment", "apps")], id="another-kind"),
        pytest.param([owner("orders", group="example.com")], id="another-group"),
    ],
)
def test_object_that_no_route_owns_is_not_kept(cache: ObjectCache, owners: list[dict[str, Any]]) -> None:
    """Every author of objects can set its labels."""
    forged = document("f", 1, route="orders", ownerReferences=owners) | {"data": {"a": "x" * 1_000_000}}
    assert not cache.put(CONFIG_MAP, forged)
    with cache.listing(CONFIG_MAP, None) as listing:
        assert cache.replace(listing, [forged]) == []
    assert (cache.by_key(CONFIG_MAP), cache.owned("ns", "orders")) == ({}, [])


def test_object_that_loses_its_owner_is_a_change(cache: ObjectCache) -> None:
    """The route is reconciled, and applies it again."""
    cache.put(CONFIG_MAP, document("c", 1, route="orders"))
    orphan = document("c", 2, route="orders", ownerReferences=[])
    assert cache.put(CONFIG_MAP, orphan)
    assert cache.get(CONFIG_MAP, "ns", "c") is None
    assert not cache.remove(CONFIG_MAP, orphan)


@pytest.mark.promise(12)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.kind))
def test_little_is_kept_of_an_object_however_large_it_is(cache: ObjectCache, kind: Kind) -> None:
    """Content is compared by its hash; a spec beyond any of the operator's own counts as different."""
    large = document("c", 1, route="orders", annotations={"other": "x" * 200_000}, managedFields=[{"x": "y" * 200_000}])
    large |= {
        "data": {"a": "x" * 1_000_000},
        "spec": {"replicas": 3, "template": "x" * 1_000_000},
        "secrets": ["x" * 9_999],
    }
    cache.put(kind, large)
    kept = cache.get(kind, "ns", "c")
    assert kept is not None
    assert len(str(kept)) < 2_000
    assert kind != DEPLOYMENT or kept["spec"] == {"replicas": 3}
    assert kept["metadata"]["labels"] == {"chaski.dev/route": "orders"}


@pytest.mark.promise(12)
def test_annotations_of_others_are_not_kept_of_a_route(cache: ObjectCache) -> None:
    """`kubectl apply` stores the whole spec in one."""
    own = {"chaski.dev/reconcile": "disabled"}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 200_000}
    cache.put(ROUTE, document("a", annotations=own | applied, managedFields=[{}]) | {"spec": {"a": "x"}})
    kept = cache.by_key(ROUTE)["ns", "a"]
    assert (kept["metadata"]["annotations"], kept["spec"]) == (own, {"a": "x"})
    assert "managedFields" not in kept["metadata"]


def test_changed_content_of_a_config_map_is_noticed() -> None:
    """By its hash."""
    desired = used_part(CONFIG_MAP, document("c") | {"data": {"a": "x"}})
    assert difference(desired, used_part(CONFIG_MAP, document("c") | {"data": {"a": "x", "b": "z"}})) is None
    assert difference(desired, used_part(CONFIG_MAP, document("c") | {"data": {"a": "y"}})) == "data.a"


@pytest.mark.promise(12)
def test_unchanged_spec_is_kept_once(cache: ObjectCache) -> None:
    """Each write of a status returns the whole route, and the loaded route refers to the texts of an earlier one."""
    cache.put(ROUTE, document("a", 1, generation=1) | {"spec": {"a": "x"}})
    first = cache.by_key(ROUTE)["ns", "a"]["spec"]
    cache.put(ROUTE, document("a", 2, generation=1) | {"spec": {"a": "x"}, "status": {"b": 1}})
    assert cache.by_key(ROUTE)["ns", "a"]["spec"] is first
    assert cache.by_key(ROUTE)["ns", "a"]["status"] == {"b": 1}
    cache.put(ROUTE, document("a", 3, generation=2) | {"spec": {"a": "y"}})
    assert cache.by_key(ROUTE)["ns", "a"]["spec"] == {"a": "y"}
    cache.put(ROUTE, document("a", 4, generation=2, uid="another") | {"spec": {"a": "z"}})
    assert cache.by_key(ROUTE)["ns", "a"]["spec"] == {"a": "z"}
