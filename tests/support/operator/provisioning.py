"""Provisioning against emulators, with calls recorded and interrupted at a given write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.config import Config
from botocore.session import Session

from chaski_aws.provision.apply import Applied, apply
from chaski_aws.provision.clients import Aws, BotoAws
from chaski_aws.provision.desired import Desired, ProvisionSettings, desired, resolved_route
from chaski_aws.provision.observe import observe
from chaski_aws.provision.plan import plan
from chaski_aws.provision.state import MAP_TAG, Observed
from chaski_aws.provision.table_plan import plan_active_table, plan_table
from chaski_core.route import resolved as earlier
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute

READS = ("Get", "List", "Describe")


class Killed(BaseException):
    """Simulates the end of the process."""


@dataclass
class Counted:
    """An `Aws` that records every call, and raises `Killed` before or after the n-th write."""

    aws: Aws
    writes: list[tuple[str, str]] = field(default_factory=list)  # operation, resource
    reads: list[str] = field(default_factory=list)
    called: set[str] = field(default_factory=set)  # service:Operation, as IAM names actions
    kill_at: int | None = None
    kill_after_the_call: bool = False

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        self.called.add(f"{service}:{operation}")
        if operation.startswith(READS):
            self.reads.append(operation)
            return self.aws.call(service, operation, request)
        if len(self.writes) == self.kill_at and not self.kill_after_the_call:
            raise Killed
        named = request.get("QueueName") or request.get("TableName") or request.get("QueueUrl", "")
        response = self.aws.call(service, operation, request)
        self.writes.append((operation, str(named).rpartition("/")[2]))
        if len(self.writes) - 1 == self.kill_at:
            raise Killed
        return response


def boto(
    sqs_url: str | None = None, dynamodb_url: str | None = None, admit: Callable[[], None] | None = None
) -> BotoAws:
    """Real boto3 clients, at the given endpoints or botocore's defaults."""

    def open_session() -> Session:
        session = Session()
        session.set_config_variable("region", "us-east-1")
        session.set_credentials("any", "any")
        session.set_default_client_config(Config(retries={"total_max_attempts": 2, "mode": "standard"}))
        return session

    return BotoAws(open_session, endpoints={"sqs": sqs_url, "dynamodb": dynamodb_url}, admit=admit)


def route_of(name: str = "conversations", namespace: str = "helpdesk", **spec: Any) -> Route:
    """A route with two queues of three partitions in all; `spec` overrides its parts."""
    whole: dict[str, Any] = {
        "queues": [{"name": "urgent", "subjects": ["u_*"]}, {"name": "messages", "partitions": 2}],
        "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
        "retry": {
            "rungs": [{"name": "fast", "delaySeconds": 5}, {"name": "slow", "delaySeconds": 900}],
            "ladders": [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast", "slow"]}],
        },
    }
    return load_route(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": name, "namespace": namespace},
            "spec": whole | spec,
        }
    )


def provision_as_earlier(aws: Aws, route: Route, owner: str = "chaski") -> None:
    """Creates the queues and the table as releases did whose names on AWS did not contain a hash of the namespace."""
    wanted = desired(route, Observed(), ProvisionSettings(owner))
    for queue in wanted.queues:
        attributes = {name: value for name, value in queue.attributes.items() if value != ""}
        tags = {name: value.removesuffix(".2") if name == MAP_TAG else value for name, value in queue.tags.items()}
        aws.call("sqs", "CreateQueue", {"QueueName": queue.earlier_name, "Attributes": attributes, "tags": tags})
    name = earlier.table_name(route)
    table = replace(wanted.table, name=name, definition={**wanted.table.definition, "TableName": name})
    apply(aws, [*plan_table(table, None), *plan_active_table(table, None)])


@dataclass(frozen=True)
class Provisioned:
    """The result of one run."""

    wanted: Desired
    observed: Observed
    applied: Applied
    resolved: ResolvedRoute


def provision(
    aws: Aws, route: Route, settings: ProvisionSettings | None = None, previous: ResolvedRoute | None = None
) -> Provisioned:
    """Runs once, as `chaski provision` does."""
    settings = settings or ProvisionSettings("chaski")
    observed = observe(aws, route, settings, previous)
    wanted = desired(route, observed, settings)
    applied = apply(aws, plan(wanted, observed))
    return Provisioned(wanted, observed, applied, resolved_route(wanted, observed, applied.urls))
