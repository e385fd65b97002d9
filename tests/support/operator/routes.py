"""A route under an operator, its status and its resources on AWS."""

from collections.abc import Sequence
from typing import Any

from chaski_aws.names import namespace_prefix
from support.kube.api_server import KubeApi
from support.kube.http import DEPLOYMENTS, ROUTES, KubeHttp
from support.operator.processes import Operator, until

NAME = "orders"
_ATTRIBUTES = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}


def route(namespace: str, name: str = NAME, **spec: Any) -> dict[str, Any]:
    """A small route without retries; `spec` overrides its parts."""
    whole = {
        "queues": [{"name": "messages"}],
        "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
        "retry": {"rungs": [], "ladders": []},
        "producers": [{"namespace": "shop", "serviceAccount": "orders"}],
    }
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": whole | spec,
    }


def owning_route(kube: KubeApi, namespace: str) -> dict[str, Any]:
    """Creates a route, and returns the owner reference of its objects; the garbage collector deletes those of no route."""
    document = route(namespace)
    kube.kubectl("apply", "-f", "-", document=document)
    uid = kube.get("chaskiroute", NAME, "-n", namespace)["metadata"]["uid"]
    named = {"apiVersion": document["apiVersion"], "kind": document["kind"], "name": NAME, "uid": uid}
    return named | {"controller": True}


class OperatedRoute:
    """One route in a namespace with a running operator."""

    def __init__(self, op: Operator, namespace: str, name: str = NAME) -> None:
        self.op = op
        self.namespace = namespace
        self.name = name
        self._aws = op.boto()
        self._http = KubeHttp(op.kube)

    def apply(self, **spec: Any) -> None:
        """`kubectl apply` of the route."""
        self.op.kube.kubectl("apply", "-f", "-", document=route(self.namespace, self.name, **spec))

    def delete(self) -> None:
        """`kubectl delete`, and waits until it is deleted."""
        self.op.kube.kubectl("delete", "chaskiroute", self.name, "-n", self.namespace, "--wait=false")
        until(lambda: self.get() is None, "the route stayed")

    def get(self) -> dict[str, Any] | None:
        """The live route; None if it does not exist."""
        found: dict[str, Any] | None = self._http.get(f"{ROUTES}/namespaces/{self.namespace}/chaskiroutes/{self.name}")
        return found

    def condition(self, type_: str) -> dict[str, Any]:
        """A condition, if it is of the current generation; else an empty one."""
        document = self.get() or {"metadata": {"generation": -1}}
        listed = document.get("status", {}).get("conditions", ())
        found = next((each for each in listed if each["type"] == type_), {})
        return found if found.get("observedGeneration") == document["metadata"]["generation"] else {}

    def await_condition(self, type_: str, status: str, reason: str | None = None) -> dict[str, Any]:
        """Waits until a condition of the current generation has this status."""

        def matching() -> dict[str, Any] | None:
            found = self.condition(type_)
            return found if found.get("status") == status and reason in (None, found["reason"]) else None

        found: dict[str, Any] = until(matching, f"{type_} is not {status} {reason}: {self.condition(type_)}")
        return found

    def ready(self) -> None:
        """Waits until it is Ready."""
        self.await_condition("Ready", "True")

    def complete(self) -> None:
        """Waits until it is Ready and no queue is draining."""
        self.ready()
        until(lambda: "Draining" not in self.rows().values(), "a queue never finishes draining")

    def rows(self) -> dict[str, str]:
        """State by row of `status.queues`; rows of the autoscaler alone have none."""
        document = self.get() or {}
        rows = document.get("status", {}).get("queues", ())
        return {each["name"]: each["state"] for each in rows if "state" in each}

    def resolved(self) -> dict[str, Any]:
        """`status.resolved`."""
        document = self.get()
        assert document is not None
        found: dict[str, Any] = document["status"]["resolved"]
        return found

    def names(self, plural: str = "deployments") -> list[str]:
        """Names of the route's objects of a kind."""
        group = {"deployments": "apis/apps/v1", "configmaps": "api/v1", "poddisruptionbudgets": "apis/policy/v1"}[
            plural
        ]
        path = f"/{group}/namespaces/{self.namespace}/{plural}?labelSelector=chaski.dev/route={self.name}"
        return sorted(each["metadata"]["name"] for each in self._http.items(path))

    def generations(self) -> dict[str, int]:
        """`metadata.generation` of each Deployment, by name."""
        items = self._http.items(f"{DEPLOYMENTS}/namespaces/{self.namespace}/deployments")
        return {each["metadata"]["name"]: each["metadata"]["generation"] for each in items}

    def events(self) -> set[str]:
        """Reasons of the events in its namespace."""
        return {each["reason"] for each in self._http.items(f"/api/v1/namespaces/{self.namespace}/events")}

    # ---- on AWS

    def queues(self) -> list[str]:
        """Names of the queues with one of the route's prefixes."""
        found = (
            self._aws.call("sqs", "ListQueues", {"QueueNamePrefix": prefix}).get("QueueUrls", ())
            for prefix in self._prefixes()
        )
        return sorted(url.rpartition("/")[2] for urls in found for url in urls)

    def _prefixes(self) -> set[str]:
        """In earlier releases, in the installations of tests, and in the operator's."""
        installations = {"chaski", "first", "second", self.op.installation()}
        prefixes = {f"{namespace_prefix(each, self.namespace)}{self.name}-" for each in installations}
        return {f"chaski-{self.namespace}-{self.name}-", *prefixes}

    def queue(self, part: str) -> str:
        """The URL of the queue whose name contains `part`."""
        (name,) = [each for each in self.queues() if part in each]
        return str(self._aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"])

    def attributes(self, url: str) -> dict[str, str]:
        """All attributes of a queue."""
        return dict(
            self._aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})["Attributes"]
        )

    def set_attributes(self, url: str, **attributes: str) -> None:
        """Changes attributes, as from the AWS console."""
        self._aws.call("sqs", "SetQueueAttributes", {"QueueUrl": url, "Attributes": attributes})

    def send(self, url: str) -> None:
        """Sends a message to a queue."""
        request = {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "s", "MessageDeduplicationId": "d"}
        self._aws.call("sqs", "SendMessage", request)

    def purge(self, url: str) -> None:
        """Empties a queue, as workers would."""
        self._aws.call("sqs", "PurgeQueue", {"QueueUrl": url})

    def make_foreign(self, name: str) -> str:
        """Creates a queue with another owner's tags; returns its URL."""
        request = {"QueueName": name, "Attributes": _ATTRIBUTES, "tags": {"team": "other"}}
        return str(self._aws.call("sqs", "CreateQueue", request)["QueueUrl"])

    def drop_queue(self, url: str) -> None:
        """Deletes a queue."""
        self._aws.call("sqs", "DeleteQueue", {"QueueUrl": url})

    def tables(self) -> list[str]:
        """Names of the tables with one of the route's prefixes."""
        listed: Sequence[str] = self._aws.call("dynamodb", "ListTables", {})["TableNames"]
        return [each for each in listed if each.startswith(tuple(self._prefixes()))]
