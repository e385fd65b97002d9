"""Names of objects, labels, annotations and the finalizer."""

import hashlib
from collections.abc import Mapping

from chaski_core.route.validation.crd import GROUP_VERSION

GROUP = GROUP_VERSION.partition("/")[0]
FINALIZER = f"{GROUP}/finalizer"  # only on routes whose deletionPolicy is Delete
MANAGER = "chaski-operator"  # field manager of everything that the operator applies

ROUTE_LABEL = f"{GROUP}/route"
QUEUE_LABEL = f"{GROUP}/queue"
REPLAY_LABEL = f"{GROUP}/replay"
ROUTE_OF_REPLAY_LABEL = f"{GROUP}/replayed-route"  # not ROUTE_LABEL, which selects the workers
REPLAYS = "chaski-replay"  # app.kubernetes.io/name of their Pods
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
_NAME_LABEL, _WORKERS = "app.kubernetes.io/name", "chaski-worker"
WORKERS_SELECTOR = f"{_NAME_LABEL}={_WORKERS}"
STAGE_LABEL = f"{GROUP}/stage"  # first | retry | sweep
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
OWNED_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGER}"

MANIFEST_HASH = f"{GROUP}/manifest-hash"  # annotation: hash of the whole object as it was applied
ROUTE_HASH = f"{GROUP}/route-hash"  # annotation of Pods: hash of all that a worker reads of the route
CA_HASH = f"{GROUP}/aws-ca-hash"  # annotation of Pods: hash of the CA bundle for AWS
ROLE_HASH = f"{GROUP}/aws-role-hash"  # annotation of Pods: hash of the IAM role of their ServiceAccount
RECONCILE_AT = f"{GROUP}/reconcile-requested-at"  # annotation of a route: a new value triggers a reconciliation
PAUSED = f"{GROUP}/reconcile"  # annotation of a route: `disabled` pauses its reconciliation, except for its deletion


def worker_labels(route: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Labels of a route's objects and worker Pods."""
    return {_NAME_LABEL: _WORKERS, ROUTE_LABEL: route, **(more or {})}


def config_map_name(route: str) -> str:
    """The ConfigMap that holds the resolved route."""
    return f"chaski-{route}"


def ca_bundle_name(route: str) -> str:
    """The ConfigMap with the CA bundle for AWS. Route names have no dots, so it never collides with another route's."""
    return f"chaski-{route}.aws-ca"


def service_account_name(route: str) -> str:
    """The workers' ServiceAccount, unless the route names one."""
    return f"chaski-{route}"


def consumer_name(route: str, queue: str) -> str:
    """The Deployment of a queue; with a hash where it could collide with another route's or the error-consumer's."""
    name = f"chaski-{route}-{queue}"
    if "-" not in route and "-" not in queue and queue != "retry":
        return name
    return f"{name}-{hashlib.sha256(f'{route}/{queue}'.encode()).hexdigest()[:6]}"


def retry_name(route: str) -> str:
    """The Deployment of the error-consumer."""
    return f"chaski-{route}-retry" if "-" not in route else consumer_name(route, "retry")


def sweeper_name(route: str) -> str:
    """The sweeper's Deployment; with a hash, since a queue may be called `sweep`."""
    return f"chaski-{route}-sweep-{hashlib.sha256(f'{route}/.sweep'.encode()).hexdigest()[:6]}"


def replay_account_name(route: str) -> str:
    """The ServiceAccount of a route's replays. Route names have no dots, so it never collides with a workers' account."""
    return f"chaski-{route}.replay"


def replay_job_name(replay: str, uid: str) -> str:
    """The Job of a ChaskiReplay; with the uid, so that it differs from the Job of an earlier replay of the same name."""
    return f"chaski-replay-{replay}-{uid[:8]}"


def replay_run(replay: str, uid: str) -> str:
    """The run's name in the marks on dead letters: the same for every Pod of the Job."""
    return f"{replay}.{uid[:18]}"
