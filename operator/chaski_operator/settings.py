"""What can be set on the operator: the one place, with unit, default and reason. `docs/operator.md` has the same table."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WorkerPodTemplate:
    """What every worker Pod gets besides what its route says."""

    #: Image with `chaski-worker`.
    image: str

    #: When the kubelet pulls it.
    pull_policy: str = "IfNotPresent"

    #: Secrets for a private registry; they must be in the route's namespace.
    pull_secrets: tuple[str, ...] = ()

    #: IAM role that the ServiceAccounts of workers are annotated with (IRSA). Pod Identity needs none.
    role_arn: str | None = None

    #: Environment of the workers: the region, endpoints of stand-ins, a collector of traces.
    environment: Mapping[str, str] = field(default_factory=dict)

    #: Makes a NetworkPolicy for each route: nobody but a scrape may come in, and workers may only go out to DNS, to web
    #: ports, to the ports that the route's rules name, and to the Pod Identity agent. Off, since a Service may lead to
    #: another port of its Pods than its own, and only that of the Pods counts.
    network_policy: bool = False


@dataclass(frozen=True, slots=True)
class ToolPods:
    """What the Pods of replays get."""

    #: Image with the command `chaski`.
    image: str

    #: When the kubelet pulls it.
    pull_policy: str = "IfNotPresent"

    #: Secrets for a private registry; they must be in the route's namespace.
    pull_secrets: tuple[str, ...] = ()

    #: IAM role that the ServiceAccounts of replays are annotated with (IRSA): they read and mark dead letters and send,
    #: which workers may not. Pod Identity needs none.
    role_arn: str | None = None

    #: As of the workers.
    environment: Mapping[str, str] = field(default_factory=dict)
    network_policy: bool = False


@dataclass(frozen=True, slots=True)
class ReconcileIntervals:
    """How often, how long, how many."""

    #: Seconds between two full looks at a route: drift of queues, tables and objects is found within this time.
    resync_seconds: float = 300.0

    #: Seconds between two looks while something is under way: a table being made, queues running empty.
    busy_seconds: float = 10.0

    #: Queues that take no more messages are empty when so many looks in a row, over so many seconds, found nothing.
    #: SQS's counts lag behind by up to a minute.
    drained_looks: int = 3
    drained_seconds: float = 60.0

    #: Seconds that a fence (a queue policy) takes to be in force everywhere; looks before that count for nothing.
    fence_seconds: float = 60.0

    #: Seconds before a failed route is tried again: the first time, and the most; doubled in between.
    retry_seconds: float = 1.0
    retry_most_seconds: float = 60.0

    #: Seconds before a route is tried again that only its author or an administrator can mend.
    terminal_retry_seconds: float = 300.0

    #: Seconds between two looks of the autoscaler at a route's queues and Pods.
    scaling_seconds: float = 10.0

    #: Seconds between two looks at a replay that runs: its counts in the status are that old.
    replay_seconds: float = 3.0

    #: Seconds that a Pod must not be wanted before it goes. Shorter saves Pods and goes up and down with the load.
    down_window_seconds: float = 300.0

    #: Routes worked on at the same time, and threads that call AWS. A call takes 10 to 50 ms, a hanging one up to
    #: 10 s, so one broken endpoint does not stop the others.
    routes_at_once: int = 32
    aws_threads: int = 32


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The Lease that is held while the operator writes, so that two never do."""

    #: Its namespace (the Pod's own) and name.
    namespace: str
    name: str = "chaski-operator"

    #: Who holds it: the Pod's name. A process that comes back under the same name goes on at once.
    identity: str = "chaski-operator"

    #: Seconds without a renewal after which another process may take it, and between two renewals.
    duration_seconds: int = 15
    renew_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings of one operator process."""

    workers: WorkerPodTemplate
    lease: LeaseSettings

    #: Namespaces that are served; none means all. With a list, Roles in these namespaces are enough.
    namespaces: tuple[str, ...] = ()

    #: Name of this installation, a part of the ownership tags in AWS: two clusters that share an account need two. Empty:
    #: the UID of the Namespace kube-system, which no two clusters share.
    installation: str = ""

    pace: ReconcileIntervals = ReconcileIntervals()

    #: Pods of replays; None: ChaskiReplays wait, and say why.
    tools: ToolPods | None = None
