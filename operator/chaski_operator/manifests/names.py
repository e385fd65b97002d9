"""Names that the operator gives and goes by: objects, labels, annotations, the finalizer."""

import hashlib

from chaski_core.route.validation.crd import GROUP_VERSION

GROUP = GROUP_VERSION.partition("/")[0]
FINALIZER = f"{GROUP}/finalizer"  # only on routes whose deletionPolicy is Delete
MANAGER = "chaski-operator"  # field manager of everything that the operator applies

ROUTE_LABEL = f"{GROUP}/route"
QUEUE_LABEL = f"{GROUP}/queue"
REPLAY_LABEL = f"{GROUP}/replay"
ROUTE_OF_REPLAY_LABEL = f"{GROUP}/replayed-route"  # not ROUTE_LABEL: by that the workers are found
REPLAYS = "chaski-replay"  # app.kubernetes.io/name of their Pods
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
STAGE_LABEL = f"{GROUP}/stage"  # first | retry | sweep
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
OWNED_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGER}"

MANIFEST_HASH = f"{GROUP}/manifest-hash"  # annotation: of the whole object as it was applied
ROUTE_HASH = f"{GROUP}/route-hash"  # annotation of Pods: of all in the route that a worker reads
RECONCILE_AT = f"{GROUP}/reconcile-requested-at"  # annotation of a route: look again now, whatever it says
PAUSED = f"{GROUP}/reconcile"  # annotation of a route: `disabled` leaves it alone, except for its deletion


def config_map_name(route: str) -> str:
    """The ConfigMap that holds the resolved route."""
    return f"chaski-{route}"


def service_account_name(route: str) -> str:
    """The workers' ServiceAccount where the route names none."""
    return f"chaski-{route}"


def consumer_name(route: str, queue: str) -> str:
    """The Deployment of a queue. Readable; with a hash where another route's or the error-consumer's could be the same."""
    name = f"chaski-{route}-{queue}"
    if "-" not in route and "-" not in queue and queue != "retry":
        return name
    return f"{name}-{hashlib.sha256(f'{route}/{queue}'.encode()).hexdigest()[:6]}"


def retry_name(route: str) -> str:
    """The Deployment of the error-consumer."""
    return f"chaski-{route}-retry" if "-" not in route else consumer_name(route, "retry")


def sweeper_name(route: str) -> str:
    """The Deployment that keeps what is about to expire; with a hash, since a queue may be called `sweep`."""
    return f"chaski-{route}-sweep-{hashlib.sha256(f'{route}/.sweep'.encode()).hexdigest()[:6]}"


def replay_account_name(route: str) -> str:
    """The ServiceAccount of a route's replays. No route's name has a dot, so no workers' account is called so."""
    return f"chaski-{route}.replay"


def replay_job_name(replay: str, uid: str) -> str:
    """The Job of a ChaskiReplay; another one of the same name gets another, so an old Job is never taken for a new one."""
    return f"chaski-replay-{replay}-{uid[:8]}"


def replay_run(replay: str, uid: str) -> str:
    """What the marks on dead letters say: the same however often the Job's Pods begin anew."""
    return f"{replay}.{uid[:18]}"
