"""Which Pods belong to a Deployment."""

from typing import Any

import pytest

from chaski_operator.pods.owners import OwnPods, PodOwners
from chaski_runtime.kube.client import KubeUnavailableError

NAME = "chaski-orders-messages"


def owner(kind: str, name: str, uid: str, **more: Any) -> dict[str, Any]:
    """An owner reference."""
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True, **more}


def document(name: str, uid: str, *owners: dict[str, Any]) -> dict[str, Any]:
    """An object of the namespace."""
    return {"metadata": {"namespace": "n", "name": name, "uid": uid, "ownerReferences": list(owners)}}


DEPLOYMENT = document(NAME, "d1")


class Server:
    """An API server with ReplicaSets."""

    def __init__(self, *replica_sets: dict[str, Any]) -> None:
        self.found = {each["metadata"]["name"]: each for each in replica_sets}
        self.calls: list[str] = []
        self.unavailable = False

    async def find(self, path: str) -> dict[str, Any] | None:
        """A ReplicaSet."""
        self.calls.append(path)
        if self.unavailable:
            raise KubeUnavailableError("unavailable")
        return self.found.get(path.rpartition("/")[2])


def owners(server: Server) -> PodOwners:
    """With this API server."""
    return PodOwners(server)  # type: ignore[arg-type]  # the one method that is called


OURS = document(f"{NAME}-1", "r1", owner("Deployment", NAME, "d1"))


async def test_pods_of_the_deployments_replica_sets_belong_to_it() -> None:
    """Each ReplicaSet is read once."""
    server = Server(OURS, document(f"{NAME}-2", "r2", owner("Deployment", NAME, "d1")))
    pods = [document(f"p{n}", f"u{n}", owner("ReplicaSet", f"{NAME}-{1 + n % 2}", f"r{1 + n % 2}")) for n in range(6)]
    made = owners(server)
    for _ in range(2):
        assert await made.of(DEPLOYMENT, pods) == OwnPods(pods)
    assert len(server.calls) == 2


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "references",
    [
        (),
        (owner("Deployment", NAME, "d1"),),
        (owner("ReplicaSet", f"{NAME}-1", "r1", controller=False),),
        (owner("ReplicaSet", f"{NAME}-1", "made-up"),),
        (owner("ReplicaSet", f"{NAME}-1", "d1"),),
        (owner("ReplicaSet", f"{NAME}-missing", "r9"),),
        (owner("ReplicaSet", "other-1", "o1"),),
        (owner("ReplicaSet", f"{NAME}-other", "o2"),),
        (owner("ReplicaSet", f"{NAME}-bare", "o3"),),
        (owner("StatefulSet", f"{NAME}-1", "r1"),),
        (owner("ReplicaSet", f"{NAME}-1", "r1", apiVersion="evil/v1"),),
    ],
    ids=["none", "the Deployment", "no controller", "a made-up UID", "the Deployment's UID", "missing", "another name",
         "of another Deployment", "without an owner", "another kind", "another group"],
)  # fmt: skip
async def test_other_pods_do_not(references: tuple[dict[str, Any], ...]) -> None:
    """Whatever their labels are, and whatever they claim to belong to."""
    server = Server(
        OURS, document(f"{NAME}-other", "o2", owner("Deployment", "x", "d2")), document(f"{NAME}-bare", "o3")
    )
    made = owners(server)
    for _ in range(2):
        assert await made.of(DEPLOYMENT, [document("p", "u", *references)]) == OwnPods([])
    assert len(server.calls) <= 1


@pytest.mark.promise(8)
async def test_a_pod_whose_owner_can_not_be_read_is_unknown() -> None:
    """After one request; it is read again the next time."""
    server = Server(OURS)
    server.unavailable = True
    made = owners(server)
    pods = [document(f"p{n}", f"u{n}", owner("ReplicaSet", f"{NAME}-1", "r1")) for n in range(3)]
    assert await made.of(DEPLOYMENT, pods) == OwnPods([], unknown=3)
    assert len(server.calls) == 1
    server.unavailable = False
    assert await made.of(DEPLOYMENT, pods) == OwnPods(pods)


@pytest.mark.promise(12)
async def test_made_up_owners_cost_few_requests_at_once() -> None:
    """And a bounded memory."""
    server = Server(OURS)
    made = owners(server)
    pods = [document(f"p{n}", f"u{n}", owner("ReplicaSet", f"{NAME}-x{n}", f"x{n}")) for n in range(100)]
    assert await made.of(DEPLOYMENT, pods) == OwnPods([], unknown=84)
    assert len(server.calls) == 16
    for start in range(0, 12_000, 16):
        more = [document("p", "u", owner("ReplicaSet", f"{NAME}-y", f"y{start + n}")) for n in range(16)]
        assert (await made.of(DEPLOYMENT, more)).unknown == 0
    assert len(made._deployments) == 10_000
