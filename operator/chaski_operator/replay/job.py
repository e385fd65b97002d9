"""The Job of a ChaskiReplay. Pure: the resource and its route in, a manifest out.

The Job may be stopped and its Pods may be killed at any time: which dead letters were sent stands in the marks on them,
under the name of the run, and nothing is kept in a Pod.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chaski_core.moments import parse_time
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_core.timestamps import timestamp
from chaski_operator.manifests.names import (
    MANAGED_BY_LABEL,
    MANAGER,
    REPLAY_LABEL,
    REPLAYS,
    ROUTE_OF_REPLAY_LABEL,
    config_map_name,
    replay_account_name,
    replay_job_name,
    replay_run,
)
from chaski_operator.manifests.worker_pod import (
    METRICS_PORT,
    RESOLVED_KEY,
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    ROUTE_FOLDER,
)
from chaski_operator.settings import ToolPods

Object = dict[str, Any]

KIND = "ChaskiReplay"
CONTAINER = "replay"
PROGRESS_PORT_NAME = "progress"
WRONG_INPUT = 2  # exit code of `chaski`: trying again does not help
_RETRIES = 12  # with the Job controller's pauses, three quarters of an hour
_REPORT = "/dev/termination-log"
_FAIL_AT_ONCE = {
    "action": "FailJob",
    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [WRONG_INPUT]},
}
_IGNORE_DRAINS = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
_FLAGS = {"subject": "--subject", "target": "--target", "class": "--class", "text": "--text"}


def replay_job(replay: Mapping[str, Any], route: Mapping[str, Any], tools: ToolPods) -> Object:
    """The Job.

    Args:
        replay: the ChaskiReplay.
        route: its ChaskiRoute.
        tools: what is the same for all replays.

    Raises:
        ValueError: a time of the filter is none; the sentence says which.
    """
    metadata = replay["metadata"]
    labels = {
        "app.kubernetes.io/name": REPLAYS,
        REPLAY_LABEL: metadata["name"],
        ROUTE_OF_REPLAY_LABEL: route["metadata"]["name"],
    }
    owner = {"apiVersion": GROUP_VERSION, "kind": KIND, "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": replay_job_name(metadata["name"], metadata["uid"]),
            "namespace": metadata["namespace"],
            "labels": {**labels, MANAGED_BY_LABEL: MANAGER},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "backoffLimit": _RETRIES,
            "suspend": bool(replay["spec"].get("suspend")),
            "podReplacementPolicy": "Failed",  # never two at a time
            "podFailurePolicy": {"rules": [_FAIL_AT_ONCE, _IGNORE_DRAINS]},
            "template": {"metadata": {"labels": labels}, "spec": _pod(replay, route, tools)},
        },
    }


def arguments(replay: Mapping[str, Any]) -> list[str]:
    """What `chaski dead-letters replay` is told. ValueError: a time is none."""
    metadata, spec = replay["metadata"], replay["spec"]
    wanted = spec.get("filter") or {}
    made = ["--run", replay_run(metadata["name"], metadata["uid"])]
    since, until = window(replay)
    made += [f"--since={timestamp(since)}"] if since is not None else []
    made += [f"--until={timestamp(until)}"]
    made += [f"{flag}={wanted[name]}" for name, flag in _FLAGS.items() if name in wanted]
    made += [f"--to-url={spec['toURL']}"] if "toURL" in spec else []
    made += [f"--rate={spec['ratePerSecond']}"] if "ratePerSecond" in spec else []
    made += [f"--{name}" for name, asked in (("again", "again"), ("dry-run", "dryRun")) if spec.get(asked)]
    return [*made, "--", *wanted["ids"]] if "ids" in wanted else made


def window(replay: Mapping[str, Any]) -> tuple[int | None, int]:
    """Since and until in epoch milliseconds: the same for every Pod of the Job.

    What fails while it runs is another dead letter. A resource's creation is told in whole seconds, so all of that second
    counts.
    """
    created = int(datetime.fromisoformat(replay["metadata"]["creationTimestamp"]).timestamp()) * 1000
    wanted = replay["spec"].get("filter") or {}
    since, until = (_moment(name, wanted.get(name), created) for name in ("since", "until"))
    latest = created + 1000
    return since, latest if until is None else min(until, latest)


def _moment(name: str, text: str | None, created: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, created)
    except ValueError as error:
        raise ValueError(f"spec.filter.{name}: {error}") from error


def _pod(replay: Mapping[str, Any], route: Mapping[str, Any], tools: ToolPods) -> Object:
    workers = route["spec"].get("workers") or {}
    name = route["metadata"]["name"]
    spec: Object = {
        "restartPolicy": "Never",  # a Pod that failed keeps its message
        "serviceAccountName": replay_account_name(name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": dict(RESTRICTED_POD),
        "containers": [_container(replay, tools)],
        "volumes": [
            {"name": "route", "configMap": {"name": config_map_name(name)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},  # what will be sent, in its order
        ],
    }
    if tools.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in tools.pull_secrets]
    return spec | {field: workers[field] for field in ("nodeSelector", "tolerations") if workers.get(field)}


def _container(replay: Mapping[str, Any], tools: ToolPods) -> Object:
    route = f"{ROUTE_FOLDER}/{RESOLVED_KEY}"
    told = ["--progress-port", str(METRICS_PORT), "--report", _REPORT]
    return {
        "name": CONTAINER,
        "image": tools.image,
        "imagePullPolicy": tools.pull_policy,
        "command": ["chaski", "dead-letters", "replay", "--route", route],
        "args": ["--yes", "--output", "json", *told, *arguments(replay)],
        "env": [{"name": name, "value": value} for name, value in sorted(tools.environment.items())],
        "ports": [{"name": PROGRESS_PORT_NAME, "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": dict(RESTRICTED_CONTAINER),
        "terminationMessagePath": _REPORT,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "route", "mountPath": ROUTE_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the Pod's own
        ],
    }
