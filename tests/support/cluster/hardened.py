"""The installation for clusters that teams share, as docs/install.md describes it: what has to exist before, and its values."""

import base64
import json
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from support.cluster.cluster import ROOT, STATE, SYSTEM, Cluster

VALUES = ROOT / "charts" / "chaski" / "values-hardened.yaml"
CHECKS = "chaski-checks"
"""Namespace of the Pods of `helm test`, which run in the first of `watchNamespaces`."""

_SECRET = "chaski-ingest-tls"
_NAMES = tuple(f"chaski-ingest.{SYSTEM}.svc{domain}" for domain in ("", ".cluster.local"))


def prepare(cluster: Cluster, teams: Collection[str]) -> None:
    """Makes what the values ask for; `cluster.install` uses them from now on.

    Args:
        cluster: the cluster.
        teams: namespaces to serve, which are created.
    """
    served = [CHECKS, *teams]
    for name in served:
        cluster.namespace(name, {"chaski.dev/producers": "true"})
    cluster.namespace(SYSTEM)
    if cluster.try_kubectl("get", "secret", "-n", SYSTEM, _SECRET).returncode != 0:
        cluster.apply(_certificate())
    own = STATE / "hardened.yaml"
    ports = [443, _api_port(cluster), int(cluster.info["SQS_PORT"]), int(cluster.info["DYNAMODB_PORT"])]
    values = {"watchNamespaces": served, "networkPolicy": {"egressPorts": ports}}
    own.write_text(json.dumps(values), encoding="utf-8")
    cluster.values = (VALUES, STATE / "values.yaml", own)


def authority(cluster: Cluster) -> str:
    """The certificate, in PEM, by which producers verify ingest."""
    data: dict[str, str] = cluster.get("secret", "-n", SYSTEM, _SECRET)["data"]
    return base64.b64decode(data["ca.crt"]).decode()


def _api_port(cluster: Cluster) -> int:
    """The port behind the API server's Service: a NetworkPolicy is applied to the address that the Service stands for."""
    server: str = json.loads(cluster.kubectl("config", "view", "-o", "json"))["clusters"][0]["cluster"]["server"]
    port = urlsplit(server).port
    assert port is not None, server
    return port


def _certificate() -> dict[str, object]:
    """A Secret in the form of cert-manager, with a certificate for the Service of ingest that is its own authority."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "tls.key"), Path(folder, "tls.crt")
        names = ",".join(f"DNS:{name}" for name in _NAMES)
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={_NAMES[0]} -addext subjectAltName={names}"
        )
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
        data = {file.name: base64.b64encode(file.read_bytes()).decode() for file in (key, certificate)}
    metadata = {"name": _SECRET, "namespace": SYSTEM}
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls"}
    return {**document, "data": {**data, "ca.crt": data["tls.crt"]}}
