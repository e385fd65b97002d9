"""Objects of others: Kubernetes objects, queues and tables that the operators must not touch, though names, labels and tags resemble theirs."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from chaos.plan import INSTALLATION, NAMESPACES, blocked_keys, keys_of, simple_spec
from chaos.plan import document as route_document
from chaos.world import World
from chaski_core.route.loading import load_route
from chaski_core.route.resolved import queue_name

_LABELS = {"app.kubernetes.io/managed-by": "chaski-operator", "app.kubernetes.io/name": "chaski-worker"}
_QUEUE = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
_COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
_TAGS = {"chaski.dev/managed-by": "chaski", "chaski.dev/owner": "another-installation"}


async def create(made: World) -> None:
    """Creates them all, those that block the routes of `plan.blocked_keys` among them."""
    for namespace in NAMESPACES:
        for each in await _objects(made, namespace):
            path = _COLLECTIONS[each["kind"]].format(namespace)
            await made.admin.apply(f"{path}/{each['metadata']['name']}", each)
    await asyncio.to_thread(_create_data, made)


async def read(made: World) -> dict[str, str]:
    """Each as JSON, by a name for people."""
    found: dict[str, str] = {}
    for namespace in NAMESPACES:
        for kind, path in _COLLECTIONS.items():
            for each in await made.admin.items(path.format(namespace)):
                if each["metadata"]["name"] in _names(namespace):
                    # A ServiceAccount's or Deployment's status is written by Kubernetes itself.
                    kept = {name: value for name, value in each.items() if name != "status"}
                    kept["metadata"] = _without_status(kept["metadata"])
                    found[f"{kind} {namespace}/{each['metadata']['name']}"] = json.dumps(kept, sort_keys=True)
    for kind, read_all in (("queue", queues), ("table", tables)):
        data = await asyncio.to_thread(read_all, made)  # the gates run in this thread
        found |= {f"{kind} {name}": text for name, text in data.items() if name in names()}
    return found


def _create_data(made: World) -> None:
    for name, tags in _queues().items():
        request = {"QueueName": name, "Attributes": _QUEUE, "tags": tags}
        made.account.call("sqs", "CreateQueue", request)
    for name, tags in _tables().items():
        made.account.call("dynamodb", "CreateTable", _table(name, tags))


def queues(made: World) -> dict[str, str]:
    """All queues of the account, with attributes that only writers change, and tags, as JSON."""
    found = {}
    for url in made.account.call("sqs", "ListQueues", {}).get("QueueUrls", ()):
        attributes = made.account.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})
        kept = {name: value for name, value in attributes["Attributes"].items() if not name.startswith("Approximate")}
        tags = made.account.call("sqs", "ListQueueTags", {"QueueUrl": url}).get("Tags", {})
        found[url.rpartition("/")[2]] = json.dumps({"attributes": kept, "tags": tags}, sort_keys=True)
    return found


def tables(made: World) -> dict[str, str]:
    """All tables of the account with their tags, as JSON."""
    found = {}
    for name in made.account.call("dynamodb", "ListTables", {})["TableNames"]:
        described = made.account.call("dynamodb", "DescribeTable", {"TableName": name})["Table"]
        tags = made.account.call("dynamodb", "ListTagsOfResource", {"ResourceArn": described["TableArn"]})["Tags"]
        kept = {key: described.get(key) for key in ("KeySchema", "TableArn", "DeletionProtectionEnabled")}
        kept["CreationDateTime"] = str(described["CreationDateTime"])
        kept["tags"] = {each["Key"]: each["Value"] for each in tags}
        found[name] = json.dumps(kept, sort_keys=True)
    return found


def names() -> set[str]:
    """Names of the queues and tables."""
    return {*_queues(), *_tables()}


def objects() -> set[tuple[str, str, str]]:
    """Namespace, plural and name of the Kubernetes objects."""
    found = set()
    for namespace in NAMESPACES:
        for name in _names(namespace):
            plurals = (
                ("deployments",) if name.endswith("-messages") else ("configmaps", "serviceaccounts", "deployments")
            )
            found |= {(namespace, plural, name) for plural in plurals}
    return found


def _names(namespace: str) -> set[str]:
    taken = {f"chaski-{name}-messages" for space, name in blocked_keys()[:1] if space == namespace}
    return {"owner", "chaski-others", "chaski-r0", "chaski-r1-others"} | taken


async def _objects(made: World, namespace: str) -> list[dict[str, Any]]:
    """Labels alone make nothing ours; a Deployment of our name with another controller blocks its route."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": namespace}}
    path = f"{_COLLECTIONS['ConfigMap'].format(namespace)}/owner"
    uid = (await made.admin.apply(path, owner))["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": True}
    labels = _LABELS | {"chaski.dev/route": next(name for space, name in keys_of(9) if space == namespace)}
    found = []
    for name in sorted(_names(namespace) - {"owner"}):
        blocks = name.endswith("-messages")
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        metadata |= {"ownerReferences": [reference]} if blocks or name == "chaski-r1-others" else {}
        found.append(_deployment(metadata))
        if not blocks:
            found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}})
            found.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    return found


def _deployment(metadata: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"app": "others"}
    pod = {"containers": [{"name": "c", "image": "registry.example/others:1"}]}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}}
    spec["template"] = {"metadata": {"labels": labels}, "spec": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": dict(metadata), "spec": spec}


def _without_status(metadata: Mapping[str, Any]) -> dict[str, Any]:
    managers = [each for each in metadata.get("managedFields", ()) if each.get("subresource") != "status"]
    return {name: value for name, value in metadata.items() if name != "resourceVersion"} | {"managedFields": managers}


def _queues() -> dict[str, dict[str, str]]:
    """By name, the tags: without Chaski's, of another installation, of ours for a route that does not exist."""
    key = blocked_keys()[1]
    blocked = load_route(route_document(key, simple_spec()))
    found = {queue_name(blocked, "messages", 1, 0): {"team": "others"}}
    for namespace, name in keys_of(6):
        ours = {"chaski.dev/managed-by": "chaski", "chaski.dev/owner": INSTALLATION}
        base = f"chaski-{namespace}-{name}-"
        found |= {
            f"{base}messages-g9-p0-00000000.fifo": {"team": "others"},
            f"{base}messages-g1-p9-00000001.fifo": _TAGS | {"chaski.dev/route": f"{namespace}/{name}"},
            f"{base}other-g1-p0-00000002.fifo": ours | {"chaski.dev/route": f"{namespace}/{name}-other"},
        }
    return found


def _tables() -> dict[str, dict[str, str]]:
    return {
        f"chaski-{namespace}-{name}-00000000": _TAGS | {"chaski.dev/route": f"{namespace}/{name}"}
        for namespace, name in keys_of(3)
    }


def _table(name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }  # fmt: skip
