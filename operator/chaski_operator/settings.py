"""All settings of the operator, with unit, default and reason. `docs/operator.md` has the same table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Of a worker's container, unless the route or `--worker-pod` has others. Without requests the Pods would be the first ones to be
#: evicted, and refused by a ResourceQuota of requests. Measured: docs/performance.md.
DEFAULT_RESOURCES: Mapping[str, Any] = {"requests": {"cpu": "100m", "memory": "160Mi"}}


@dataclass(frozen=True, slots=True)
class PodSettings:
    """The part of a Pod's spec that is the same for workers and replays."""

    #: User, group and fsGroup of the Pods; None: the cluster chooses, as OpenShift's restricted-v2 requires. The default is
    #: "nonroot" of distroless images; any number but 0 would do.
    run_as_user: int | None = 65532
    run_as_group: int | None = 65532
    fs_group: int | None = 65532

    #: Dots in a name from which on it is looked up as it is first, and with the cluster's search domains after that.
    ndots: int = 1

    #: Certificates in PEM of the authorities of AWS's endpoints; None: the image's.
    aws_ca_bundle: str | None = None


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """The part of a Pod of one kind that is the same for all routes."""

    #: Image with the command.
    image: str

    #: The kubelet's pull policy for it.
    pull_policy: str = "IfNotPresent"

    #: Secrets for a private registry; they must exist in the route's namespace.
    pull_secrets: tuple[str, ...] = ()

    #: IAM role in the annotation of the Pods' ServiceAccounts (IRSA); `{namespace}` stands for theirs. Pod Identity needs none.
    role_arn: str | None = None

    #: Roles of some namespaces, which take precedence.
    role_arns: Mapping[str, str] = field(default_factory=dict)

    #: Environment: region, endpoints, proxies for AWS, a trace collector.
    environment: Mapping[str, str] = field(default_factory=dict)

    #: Creates a NetworkPolicy for the Pods of each route.
    network_policy: bool = False

    #: The peers that it lets read metrics and progress, in the form of `from` of a NetworkPolicy, the operator among them; none:
    #: every Pod.
    metrics_from: tuple[Mapping[str, Any], ...] = ()

    #: Users, DNS and CA bundle.
    common: PodSettings = PodSettings()

    #: Fields of `spec.workers`, and `affinity`, of routes that do not have them; from `--worker-pod`. Replays use the placement only.
    defaults: Mapping[str, Any] = field(default_factory=lambda: {"resources": DEFAULT_RESOURCES})

    def role_in(self, namespace: str) -> str | None:
        """The IAM role of the Pods in a namespace; None: none is named."""
        if namespace in self.role_arns:
            return self.role_arns[namespace]
        return None if self.role_arn is None else self.role_arn.replace("{namespace}", namespace)


@dataclass(frozen=True, slots=True)
class WorkerPodTemplate(PodTemplate):
    """Of workers, with `chaski-worker`.

    Their NetworkPolicy permits ingress only for scrapes; egress only to DNS, web ports, the ports of the route's allow rules
    and the Pod Identity agent. Off by default: a Service may map to another port of its Pods than its own, and a policy
    applies to the Pods' port.
    """


@dataclass(frozen=True, slots=True)
class ToolPods(PodTemplate):
    """Of replays, with `chaski`. Their role may read and mark dead letters and send, which workers may not do."""


@dataclass(frozen=True, slots=True)
class ReconcileIntervals:
    """Intervals, timeouts and concurrency of reconciliation."""

    #: Seconds between two full reconciliations of a route: drift of queues, tables and objects is found within this time.
    resync_seconds: float = 300.0

    #: Seconds for which the API server may be unreachable before the process fails its liveness probe.
    unreachable_seconds: float = 600.0

    #: Seconds between two reconciliations while something is in progress: a table is being created, queues are draining.
    busy_seconds: float = 10.0

    #: A draining queue counts as empty after this number of consecutive empty checks, over at least this many seconds.
    #: SQS's counts lag behind by up to a minute.
    drained_checks: int = 3
    drained_seconds: float = 60.0

    #: Seconds until a fence (a queue policy) takes effect everywhere; earlier checks do not count.
    fence_seconds: float = 60.0

    #: Seconds before a failed reconciliation is retried: the first time, and the maximum; doubled in between.
    retry_seconds: float = 1.0
    max_retry_seconds: float = 60.0

    #: Seconds before a reconciliation is retried that only the route's author or an administrator can fix.
    terminal_retry_seconds: float = 300.0

    #: Seconds between two checks of a route's queues and Pods by the autoscaler.
    scaling_seconds: float = 10.0

    #: Seconds between two readings of the counts of an idle route: one without Pods and messages, while every Pod of ingest
    #: reports what it puts on queues. Its queues and its table are checked for drift every fourth time.
    idle_seconds: float = 900.0

    #: Seconds between two checks of a running replay; the counts in its status are at most this old.
    replay_seconds: float = 3.0

    #: Seconds for which a Pod must be surplus before it is removed. A shorter window saves Pods and scales more often.
    down_window_seconds: float = 300.0

    #: Routes reconciled concurrently, and threads that call AWS. A call takes 10 to 50 ms, a hanging one up to 10 s, so
    #: one broken endpoint does not block the others.
    routes_at_once: int = 32
    aws_threads: int = 32


@dataclass(frozen=True, slots=True)
class IngestService:
    """The Pods of ingest, behind the Service of their metrics."""

    service: str  # namespace/name

    #: A token of the operator's ServiceAccount for the audience `chaski-activity`; the kubelet renews it.
    token_file: Path


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The Lease that a process holds while it writes, so that two never write at the same time."""

    #: Its namespace (the Pod's own) and name.
    namespace: str
    name: str = "chaski-operator"

    #: Identity of the holder: the Pod's name. A restarted process with the same identity continues at once.
    identity: str = "chaski-operator"

    #: Seconds without a renewal after which another process may take it.
    duration_seconds: int = 15

    #: Seconds between two renewals, and until a call for one has failed.
    renew_seconds: float = 2.0
    call_seconds: float = 3.0

    #: Seconds since the last renewal after which its holder writes no more: before another process may take it.
    deadline_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings of one operator process."""

    workers: WorkerPodTemplate
    lease: LeaseSettings

    #: Served namespaces; empty: all. With a list, Roles in these namespaces are sufficient.
    namespaces: tuple[str, ...] = ()

    #: Name of this installation in the ownership tags on AWS: two clusters that share an account need different names.
    #: Empty: the UID of the Namespace kube-system, which is unique to a cluster.
    installation: str = ""

    intervals: ReconcileIntervals = ReconcileIntervals()

    #: Removes what others add to the workers' Deployments; otherwise it is reported. The marks of known tools stay.
    remove_additions: bool = False

    #: Ingest admits only the producers that a route declares, so a route without any is not ready.
    producers_required: bool = True
    #: Restricts routes by the ChaskiPolicies of the cluster, which needs rights on them and on Namespaces cluster-wide.
    policies: bool = True

    #: The Pods of ingest, which are asked what they put on queues; None: queues are counted all the time.
    ingest: IngestService | None = None

    #: Pods of replays; None: ChaskiReplays stay pending, with the reason in their status.
    tools: ToolPods | None = None

    #: KMS key of queues and tables, by its ARN, unless a route names one; None: keys that are found are kept.
    kms_key: str | None = None

    #: Additional tags of queues and tables, such as those that bills are split by.
    aws_tags: Mapping[str, str] = field(default_factory=dict)

    #: Labels of ChaskiRoutes that are tags of their queues and tables too.
    aws_tag_labels: tuple[str, ...] = ()
