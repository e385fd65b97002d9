"""The API server of the tests: validation, garbage collection, tokens, RBAC, and its end after the last user."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from support.kube.api_server import CONTROLLERS, ROOT, KubeApi

DEADLINE_SECONDS = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def config_map(name: str, namespace: str, **metadata: Any) -> dict[str, Any]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace} | metadata}


def test_the_version_is_the_one_asked_for(kube: KubeApi) -> None:
    """`CHASKI_KUBERNETES`, else the newest one that hack/kube builds; `KUBEBUILDER_ASSETS` may contain any other."""
    newest = max(folder.name for folder in (ROOT / "hack" / "kube" / "kubernetes").iterdir())
    asked = os.environ.get("CHASKI_KUBERNETES") or ("1" if "KUBEBUILDER_ASSETS" in os.environ else newest)
    version = yaml.safe_load(kube.kubectl("version", "-o", "yaml"))
    assert version["serverVersion"]["gitVersion"].startswith(f"v{asked}.")
    assert version["clientVersion"]["minor"] == version["serverVersion"]["minor"]


def test_example_is_accepted_and_an_invalid_route_refused(kube: KubeApi) -> None:
    """By the CRD of ChaskiRoute."""
    namespace = kube.make_namespace()
    route = yaml.safe_load((ROOT / "examples" / "first-route.yaml").read_text())
    route["metadata"]["namespace"] = namespace
    kube.kubectl("apply", "--server-side", "-f", "-", document=route)
    assert kube.get("chaskiroutes", "-n", namespace)["items"][0]["spec"]["queues"]
    route["metadata"]["name"] = "second"
    route["spec"]["ordering"] = "Sometimes"
    refused = kube.try_kubectl("apply", "--server-side", "-f", "-", document=route)
    assert refused.returncode != 0
    assert 'Unsupported value: "Sometimes"' in refused.stderr


def test_owner_references_are_followed(kube: KubeApi) -> None:
    """An owned object is deleted with its owner."""
    kube.need_controllers()
    namespace = kube.make_namespace()
    kube.kubectl("apply", "-f", "-", document=config_map("owner", namespace))
    uid = kube.get("configmap", "owner", "-n", namespace)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    kube.kubectl("apply", "-f", "-", document=config_map("owned", namespace, ownerReferences=[owner]))
    kube.kubectl("delete", "configmap", "owner", "-n", namespace)
    until(lambda: kube.try_kubectl("get", "configmap", "owned", "-n", namespace).returncode != 0)


def test_tokens_of_service_accounts_are_reviewed_by_audience(kube: KubeApi) -> None:
    """As for a producer's token."""
    namespace = kube.make_namespace()
    token = kube.token(namespace, "default", "chaski")
    for audience, authenticated in (("chaski", True), ("other", False)):
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token, "audiences": [audience]},
        }
        response = yaml.safe_load(kube.kubectl("create", "-o", "yaml", "-f", "-", document=review))
        assert response["status"].get("authenticated", False) is authenticated
    assert response["status"].get("user", {}) == {}


def test_user_has_the_permissions_of_its_role(kube: KubeApi) -> None:
    """RBAC is enabled, and the audit log has the requests."""
    namespace = kube.make_namespace()
    kubeconfig = f"--kubeconfig={kube.user_kubeconfig(namespace)}"
    assert "Forbidden" in kube.try_kubectl("get", "configmaps", "-n", namespace, kubeconfig).stderr
    kube.kubectl("create", "role", "reader", "-n", namespace, "--verb=get,list", "--resource=configmaps")
    kube.kubectl("create", "rolebinding", "reader", "-n", namespace, "--role=reader", f"--user={namespace}")
    until(lambda: kube.try_kubectl("get", "configmaps", "-n", namespace, kubeconfig).returncode == 0)
    verbs = {(each["verb"], each["objectRef"]["resource"]) for each in kube.requests(namespace) if "objectRef" in each}
    assert verbs == {("list", "configmaps")}


def test_restarted_server_keeps_its_data(own_kube: KubeApi) -> None:
    """The API server is killed and started again; etcd keeps running."""
    namespace = own_kube.make_namespace()
    own_kube.down()
    assert own_kube.try_kubectl("get", "namespaces").returncode != 0
    own_kube.up()
    assert own_kube.get("namespace", namespace)["metadata"]["name"] == namespace


_USER = """
import sys, pathlib
from support.kube.api_server import kube_api
with kube_api(pathlib.Path(sys.argv[1]), sys.argv[2]) as api:
    print(api.server, flush=True)
    sys.stdin.readline()
"""


def test_server_ends_after_its_last_user_even_if_that_is_killed(kube: KubeApi, tmp_path: Path) -> None:
    """Two processes share it; the first exits, the second is killed with SIGKILL."""
    del kube  # skips without the programs
    command = [sys.executable, "-c", _USER, str(tmp_path / "kube"), ""]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}

    def user() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )

    with user() as first, user() as second:
        assert first.stdin is not None
        assert first.stdout is not None
        assert second.stdout is not None
        server = first.stdout.readline().strip()
        assert second.stdout.readline().strip() == server
        first.stdin.write("\n")
        assert first.wait(DEADLINE_SECONDS) == 0
        port = int(server.rsplit(":", 1)[1])
        assert listens(port)
        second.send_signal(signal.SIGKILL)
    until(lambda: not listens(port))


def listens(port: int) -> bool:
    """Whether a process listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_names_of_controllers_are_known_to_kubernetes(kube: KubeApi) -> None:
    """An unknown name would start no controller."""
    kube.need_controllers()
    log = kube.folder / "kube-controller-manager.log"
    for name in CONTROLLERS.split(","):
        until(lambda name=name: f'"Controller starting..." controller="{name}"' in log.read_text())  # type: ignore[misc]
