"""Who may create which ChaskiReplay, by the chart's roles and admission policy on a real API server."""

from collections.abc import Mapping
from typing import Any

import pytest

from support.dead_letters.replays import replay
from support.kube.api_server import KubeApi
from support.kube.charts import of_kind, render
from support.until import until

TEXT = {"filter": {"text": "Bearer t"}, "dryRun": True}
TO_URL = {"toURL": "https://other.example/"}
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.fixture
def rendered(kube: KubeApi) -> list[dict[str, Any]]:
    """The chart's objects; its roles for users are installed."""
    objects = render()
    for each in of_kind(objects, "ClusterRole"):
        if each["metadata"]["name"] in ("chaski-replayer", "chaski-replay-content"):
            kube.kubectl("apply", "-f", "-", document=each)
    return objects


class Users:
    """Users who create ChaskiReplays in a namespace."""

    def __init__(self, kube: KubeApi) -> None:
        self.kube = kube
        self._number = 0

    def bind(self, namespace: str, user: str, *roles: str) -> None:
        """Binds a user to ClusterRoles in a namespace."""
        for role in roles:
            where = (f"--clusterrole={role}", f"--user={user}", "-n", namespace)
            self.kube.kubectl("create", "rolebinding", f"{user}-{role}", *where)

    def refusal(self, user: str, namespace: str, **spec: Any) -> str | None:
        """Why the API server refuses a user's ChaskiReplay; None if it is created."""
        self._number += 1
        document = {**replay(namespace, "orders", **spec)}
        document["metadata"] = {**document["metadata"], "name": f"replay-{self._number}"}
        made = self.kube.try_kubectl("create", f"--as={user}", "-f", "-", document=document)
        return made.stderr if made.returncode else None


def installed(kube: KubeApi, objects: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Applies the chart's admission policy."""
    found = of_kind(objects, *KINDS)
    for each in found:
        kube.kubectl("apply", "-f", "-", document=each)
    return found


@pytest.mark.promise(14)
async def test_searching_content_and_sending_elsewhere_are_rights_of_their_own(
    kube: KubeApi, rendered: list[dict[str, Any]]
) -> None:
    """In each namespace by itself; the refusal names the verb. What exists may be suspended by every replayer."""
    users, own, other = Users(kube), kube.make_namespace("rights"), kube.make_namespace("rights")
    plain, reader = f"plain-{own}", f"reader-{own}"
    users.bind(own, plain, "chaski-replayer")
    users.bind(own, reader, "chaski-replayer", "chaski-replay-content")
    users.bind(other, reader, "chaski-replayer")
    policy = installed(kube, rendered)
    try:
        await until(lambda: users.refusal(plain, own, **TEXT) is not None)  # a new policy takes effect after a moment
        assert "needs the verb search on chaskireplays.chaski.dev" in (users.refusal(plain, own, **TEXT) or "")
        assert "needs the verb redirect on chaskireplays.chaski.dev" in (users.refusal(plain, own, **TO_URL) or "")
        assert users.refusal(plain, own, filter={"subject": "s", "target": "t", "class": "5xx"}, dryRun=True) is None
        assert users.refusal(reader, own, **TEXT) is None
        assert users.refusal(reader, own, **TO_URL) is None
        assert f"in namespace {other}" in (users.refusal(reader, other, **TEXT) or "")
        listed = kube.get("chaskireplays", "-n", own)["items"]
        # The reader's, and those of the other user before the policy took effect.
        searching = next(
            each["metadata"]["name"] for each in listed if "dryRun" in each["spec"] and "text" in each["spec"]["filter"]
        )
        patch = ("patch", "chaskireplay", searching, "-n", own, f"--as={plain}", "--type=merge", "-p")
        assert kube.try_kubectl(*patch, '{"spec":{"suspend":true}}').returncode == 0
    finally:
        for each in policy:
            kube.kubectl("delete", each["kind"], each["metadata"]["name"])
