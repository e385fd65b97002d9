"""The Job of a ChaskiReplay. Pure: the resource and its route in, a manifest out.

The Job may be suspended and its Pods killed at any time: a dead letter that was sent carries a mark with the name of the
run, and no state is kept in a Pod.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chaski_core.timestamps import parse_time
from chaski_operator.manifests.kinds import REPLAY, Object
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
from chaski_operator.manifests.pod_settings import (
    RESTRICTED_CONTAINER,
    ca_mounts,
    ca_volumes,
    dns_config,
    environment,
    literal,
    placement,
    pod_security,
    pod_values,
)
from chaski_operator.manifests.worker_pod import (
    METRICS_PORT,
    RESOLVED_KEY,
    ROUTE_FOLDER,
)
from chaski_operator.settings import ToolPods
from chaski_replay.arguments import ReplayArguments, job_command
from chaski_runtime.process.command_error import ExitCode

CONTAINER = "replay"
PROGRESS_PORT_NAME = "progress"
_RETRIES = 12  # 45 minutes, with the Job controller's backoff
_REPORT = "/dev/termination-log"
_FAIL_AT_ONCE = {
    "action": "FailJob",
    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [int(ExitCode.WRONG_INPUT)]},
}
_IGNORE_DRAINS = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def replay_job(replay: Mapping[str, Any], route: Mapping[str, Any], tools: ToolPods) -> Object:
    """The Job.

    Args:
        replay: the ChaskiReplay.
        route: its ChaskiRoute.
        tools: the part of the Pod that is the same for all replays.

    Raises:
        ValueError: a time of the filter is invalid; the message names it.
    """
    metadata = replay["metadata"]
    labels = {
        "app.kubernetes.io/name": REPLAYS,
        REPLAY_LABEL: metadata["name"],
        ROUTE_OF_REPLAY_LABEL: route["metadata"]["name"],
    }
    owner = {"apiVersion": REPLAY.api_version, "kind": REPLAY.kind, "name": metadata["name"], "uid": metadata["uid"]}
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
            "podReplacementPolicy": "Failed",  # never two Pods at the same time
            "podFailurePolicy": {"rules": [_FAIL_AT_ONCE, _IGNORE_DRAINS]},
            "template": {"metadata": {"labels": labels}, "spec": _pod(replay, route, tools)},
        },
    }


def arguments(replay: Mapping[str, Any]) -> ReplayArguments:
    """The arguments of `chaski dead-letters replay`. Raises ValueError if a time is invalid."""
    metadata, spec = replay["metadata"], replay["spec"]
    filters = spec.get("filter") or {}
    since, until = window(replay)
    return ReplayArguments(
        run=replay_run(metadata["name"], metadata["uid"]),
        since=since,
        until=until,
        subject=filters.get("subject"),
        target=filters.get("target"),
        error_class=filters.get("class"),
        text=filters.get("text"),
        to_url=spec.get("toURL"),
        rate=spec.get("ratePerSecond"),
        again=bool(spec.get("again")),
        dry_run=bool(spec.get("dryRun")),
        ids=tuple(filters.get("ids", ())),
    )


def window(replay: Mapping[str, Any]) -> tuple[int | None, int]:
    """Since and until in epoch milliseconds: the same for every Pod of the Job.

    A message that fails again during the replay becomes another dead letter, so `until` is the resource's creation at the
    latest. That time has whole seconds, so the whole second is included.
    """
    created = int(datetime.fromisoformat(replay["metadata"]["creationTimestamp"]).timestamp()) * 1000
    filters = replay["spec"].get("filter") or {}
    since, until = (_time(name, filters.get(name), created) for name in ("since", "until"))
    latest = created + 1000
    return since, latest if until is None else min(until, latest)


def _time(name: str, text: str | None, created: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, created)
    except ValueError as error:
        raise ValueError(f"spec.filter.{name}: {error}") from error


def _pod(replay: Mapping[str, Any], route: Mapping[str, Any], tools: ToolPods) -> Object:
    name = route["metadata"]["name"]
    spec: Object = {
        "restartPolicy": "Never",  # a failed Pod keeps its termination message
        "serviceAccountName": replay_account_name(name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(tools.common),
        "dnsConfig": dns_config(tools.common),
        "containers": [_container(replay, tools)],
        "volumes": [
            {"name": "route", "configMap": {"name": config_map_name(name)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},  # the selected messages, in order
            *ca_volumes(name, tools.common),
        ],
    }
    if tools.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in tools.pull_secrets]
    return spec | placement(pod_values(route["spec"], tools.defaults))


def _container(replay: Mapping[str, Any], tools: ToolPods) -> Object:
    return {
        "name": CONTAINER,
        "image": tools.image,
        "imagePullPolicy": tools.pull_policy,
        "command": job_command(f"{ROUTE_FOLDER}/{RESOLVED_KEY}"),
        "args": [literal(each) for each in arguments(replay).job_arguments(METRICS_PORT, _REPORT)],
        "env": environment(tools.environment, tools.common),
        "ports": [{"name": PROGRESS_PORT_NAME, "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": dict(RESTRICTED_CONTAINER),
        "terminationMessagePath": _REPORT,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "route", "mountPath": ROUTE_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the Pod's own
            *ca_mounts(tools.common),
        ],
    }
