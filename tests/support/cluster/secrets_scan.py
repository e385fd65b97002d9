"""Where a secret could have been written to: logs, tables, exports, objects of the API server, metrics pages."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from support.cluster.cluster import SYSTEM, Cluster

_OBJECTS = "chaskiroutes,chaskireplays,events,configmaps,deployments,replicasets,pods,leases,jobs"


def forms(secret: str) -> set[str]:
    """A secret as it could have been written: plain, quoted as in a URL or in JSON, and in Base64 at any offset."""
    found = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    for offset in range(3):
        encoded = base64.b64encode(b" " * offset + secret.encode()).decode()
        found.add(encoded[4 if offset else 0 : -4])  # the first and the last group also hold other bytes
    return found


def found_in(texts: Mapping[str, str], secrets: Iterable[str]) -> list[str]:
    """Names of the texts with one of the secrets in them."""
    wanted = set().union(*map(forms, secrets))
    return sorted(name for name, text in texts.items() if any(form in text for form in wanted))


def written(cluster: Cluster, namespaces: Iterable[str]) -> dict[str, str]:
    """All texts of an installation and of the namespaces, by what and where they are."""
    return {
        **{f"log of {name}": text for each in (SYSTEM, *namespaces) for name, text in _logs(cluster, each)},
        **dict(_tables(cluster)),
        **{
            f"objects in {each}": cluster.kubectl("get", _OBJECTS, "-n", each, "-o", "json")
            for each in (SYSTEM, *namespaces)
        },
        **{f"metrics of {name}": text for each in namespaces for name, text in _metrics(cluster, each)},
    }


def _pods(cluster: Cluster, namespace: str) -> Iterator[tuple[str, str]]:
    for pod in cluster.get("pods", "-n", namespace)["items"]:
        for container in pod["spec"]["containers"]:
            yield pod["metadata"]["name"], container["name"]


def _logs(cluster: Cluster, namespace: str) -> Iterator[tuple[str, str]]:
    for pod, container in _pods(cluster, namespace):
        arguments = ("logs", "-n", namespace, pod, "-c", container, "--tail=-1")
        yield f"{namespace}/{pod}/{container}", cluster.kubectl(*arguments)
        before = cluster.try_kubectl(*arguments, "--previous")
        if before.returncode == 0:
            yield f"{namespace}/{pod}/{container} before its restart", before.stdout


def _metrics(cluster: Cluster, namespace: str) -> Iterator[tuple[str, str]]:
    for pod, _ in _pods(cluster, namespace):
        read = cluster.try_kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:9090/proxy/metrics")
        if read.returncode == 0:
            yield f"{namespace}/{pod}", read.stdout


def _tables(cluster: Cluster) -> Iterator[tuple[str, str]]:
    database = cluster.aws("dynamodb")
    for name in database.list_tables()["TableNames"]:
        for number, page in enumerate(database.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)):
            yield f"table {name}, page {number}", json.dumps(page["Items"], default=_text)


def _text(value: object) -> str:
    return bytes(value).decode(errors="replace") if isinstance(value, bytes) else str(value)
