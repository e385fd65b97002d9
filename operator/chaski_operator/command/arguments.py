"""The command line and environment of the operator. `docs/operator.md` has the same table."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from chaski_aws.provision.desired import KEY_ARN, tag_fault
from chaski_runtime.process.command import (
    HOST_DEFAULT,
    LogFormat,
    LogLevel,
    check_service,
    comma_separated,
    json_objects,
    pair,
)
from chaski_runtime.process.http_server import EVERY_ADDRESS

PREFIX = "CHASKI_OPERATOR_"


def _option(flags: str, purpose: str, **more: Any) -> Any:
    return typer.Option(flags, envvar=_variable(flags), help=purpose, **more)


def _list_option(flags: str, purpose: str, **more: Any) -> Any:
    purpose = f"{purpose} Environment variable: {_variable(flags)}, separated by commas."
    return typer.Option(flags, help=purpose, show_default=False, **more)


def _variable(flags: str) -> str:
    return PREFIX + flags.partition("/")[0].removeprefix("--").replace("-", "_").upper()


_MOST_ID = 2_147_483_647  # of users and groups in Kubernetes
_id: dict[str, Any] = {"metavar": "N|none"}
TOKEN_FILE = Path("/var/run/secrets/chaski/ingest/token")
_seconds: dict[str, Any] = {"min": 0, "max": 31_536_000, "metavar": "SECONDS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line. Each flag can also be set by an environment variable."""

    worker_image: Annotated[str, _option("--worker-image", "Image of the workers.")]
    worker_pull_policy: Annotated[str, _option("--worker-pull-policy", "Pull policy of that image.")] = "IfNotPresent"
    worker_pull_secret: Annotated[
        list[str], _list_option("--worker-pull-secret", "Secret for a private registry; repeatable.", metavar="NAME")
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_WORKER_PULL_SECRET"))
    worker_role_arn: Annotated[
        str,
        _option(
            "--worker-role-arn",
            "IAM role on the workers' ServiceAccounts (IRSA); {namespace} stands for theirs.",
            metavar="ARN",
        ),
    ] = ""
    worker_role: Annotated[
        list[tuple],  # type: ignore[type-arg]  # of two texts
        _list_option("--worker-role", "The role in one namespace; repeatable.", metavar="NS=ARN", parser=pair),
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_WORKER_ROLE"))
    worker_env: Annotated[
        list[tuple],  # type: ignore[type-arg]  # of two texts; typer would take an option of two values
        _list_option("--worker-env", "Environment of the workers; repeatable.", metavar="NAME=VALUE", parser=pair),
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_WORKER_ENV"))
    worker_network_policy: Annotated[
        bool,
        _option(
            "--worker-network-policy/--no-worker-network-policy",
            "Create a NetworkPolicy for the workers of each route.",
        ),
    ] = False
    worker_metrics_from: Annotated[
        tuple,  # type: ignore[type-arg]  # of peers
        _option(
            "--worker-metrics-from",
            "Peers that the NetworkPolicies of workers let read metrics, as a JSON list; none: every Pod.",
            parser=json_objects,
            metavar="PEERS",
        ),
    ] = ()
    worker_run_as_user: Annotated[
        str, _option("--worker-run-as-user", "User id of workers and replays; none: the cluster's choice.", **_id)
    ] = "65532"
    worker_run_as_group: Annotated[
        str, _option("--worker-run-as-group", "Group id of workers and replays; none: the cluster's choice.", **_id)
    ] = "65532"
    worker_fs_group: Annotated[
        str, _option("--worker-fs-group", "Group of their volumes; none: the cluster's choice.", **_id)
    ] = "65532"
    worker_ndots: Annotated[
        int,
        _option(
            "--worker-ndots",
            "Dots from which on workers and replays look a name up as it is before the cluster's search domains.",
            min=1,
            max=15,
            metavar="N",
        ),
    ] = 1
    worker_pod: Annotated[
        str,
        _option(
            "--worker-pod",
            "Defaults of the Pods of workers, as JSON: fields of spec.workers of a route, and affinity.",
            metavar="JSON",
        ),
    ] = "{}"
    remove_additions: Annotated[
        bool,
        _option(
            "--remove-additions/--no-remove-additions",
            "Remove what others add to the workers' Deployments, such as containers; otherwise it is only reported.",
        ),
    ] = False
    producers_required: Annotated[
        bool,
        _option(
            "--producers-required/--no-producers-required",
            "A route without spec.producers is not ready. Not required where ingest runs with --auth none, or not at all.",
        ),
    ] = True
    policies: Annotated[
        bool, _option("--policies/--no-policies", "Restrict routes by the ChaskiPolicies of the cluster.")
    ] = True
    tools_image: Annotated[
        str,
        _option("--tools-image", "Image with the command chaski, for replays; without it ChaskiReplays stay pending."),
    ] = ""
    tools_pull_policy: Annotated[str, _option("--tools-pull-policy", "Pull policy of that image.")] = "IfNotPresent"
    tools_role_arn: Annotated[
        str,
        _option(
            "--tools-role-arn",
            "IAM role on the ServiceAccounts of replays (IRSA); {namespace} stands for theirs.",
            metavar="ARN",
        ),
    ] = ""
    tools_role: Annotated[
        list[tuple],  # type: ignore[type-arg]  # of two texts
        _list_option("--tools-role", "The role in one namespace; repeatable.", metavar="NS=ARN", parser=pair),
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_TOOLS_ROLE"))
    namespace: Annotated[
        list[str], _list_option("--namespace", "Serve only this namespace; repeatable; default: all.", metavar="NS")
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_NAMESPACE"))
    installation: Annotated[
        str,
        _option(
            "--installation",
            "Name of this installation in AWS tags, unique in the account.",
            metavar="NAME",
            show_default="the UID of kube-system",
        ),
    ] = ""
    kms_key_arn: Annotated[
        str,
        _option(
            "--kms-key-arn",
            "KMS key of queues and tables, unless a route names one; without it, keys that are found are kept.",
            metavar="ARN",
        ),
    ] = ""
    aws_tag: Annotated[
        list[tuple],  # type: ignore[type-arg]  # of two texts
        _list_option(
            "--aws-tag", "Additional tag of queues and tables; repeatable.", metavar="NAME=VALUE", parser=pair
        ),
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_AWS_TAG"))
    aws_tag_label: Annotated[
        list[str],
        _list_option(
            "--aws-tag-label",
            "Label of ChaskiRoutes that is a tag of their queues and tables too, such as team; repeatable.",
            metavar="NAME",
        ),
    ] = field(default_factory=comma_separated("CHASKI_OPERATOR_AWS_TAG_LABEL"))
    resync_seconds: Annotated[
        float, _option("--resync-seconds", "Between two full reconciliations of a route.", **_seconds)
    ] = 300.0
    unreachable_seconds: Annotated[
        float,
        _option(
            "--unreachable-seconds",
            "Without the API server after which the liveness probe fails.",
            **_seconds | {"min": 10, "max": 86_400},
        ),
    ] = 600.0
    busy_seconds: Annotated[
        float,
        _option(
            "--busy-seconds",
            "Between two reconciliations while queues drain or a table is being created.",
            **_seconds,
        ),
    ] = 10.0
    drained_seconds: Annotated[
        float,
        _option("--drained-seconds", "For which a draining queue must stay empty before it is deleted.", **_seconds),
    ] = 60.0
    fence_seconds: Annotated[
        float, _option("--fence-seconds", "Until a queue policy takes effect everywhere.", **_seconds)
    ] = 60.0
    scaling_seconds: Annotated[
        float,
        _option("--scaling-seconds", "Between two checks of a route's queues and Pods by the autoscaler.", **_seconds),
    ] = 10.0
    scale_down_window_seconds: Annotated[
        float,
        _option(
            "--scale-down-window-seconds",
            "For which a Pod must be surplus before it is removed.",
            **_seconds | {"max": 3600},
        ),
    ] = 300.0
    idle_seconds: Annotated[
        float,
        _option(
            "--idle-seconds", "Between two readings of the queues of a route without Pods and messages.", **_seconds
        ),
    ] = 900.0
    ingest: Annotated[
        str,
        _option("--ingest", "Service whose Pods are asked what they put on queues.", metavar="NS/SERVICE"),
    ] = ""
    ingest_token: Annotated[
        Path, _option("--ingest-token", "File with the token that these Pods ask for.", metavar="FILE")
    ] = TOKEN_FILE
    aws_threads: Annotated[int, _option("--aws-threads", "Concurrent calls to AWS.", min=1, metavar="N")] = 16
    lease_namespace: Annotated[
        str, _option("--lease-namespace", "Namespace of the Lease.", metavar="NS", show_default="the Pod's")
    ] = ""
    lease_name: Annotated[str, _option("--lease-name", "Name of the Lease.", metavar="NAME")] = "chaski-operator"
    lease_seconds: Annotated[
        int,
        _option("--lease-seconds", "Without a renewal after which another process may take it.", min=1, metavar="N"),
    ] = 15
    identity: Annotated[
        str, _option("--identity", "Identity of its holder.", metavar="NAME", show_default="the Pod's name")
    ] = field(default_factory=socket.gethostname)
    host: Annotated[
        str,
        _option("--host", "Address of the health and metrics endpoints.", metavar="ADDRESS", show_default=HOST_DEFAULT),
    ] = EVERY_ADDRESS  # Pods are scraped from outside
    metrics_port: Annotated[
        int,
        _option("--metrics-port", "Port of these endpoints; 0: any free port.", min=0, max=65535, metavar="N"),
    ] = 9090
    log_format: Annotated[LogFormat, _option("--log-format", "Format of log lines.")] = LogFormat.JSON
    log_level: Annotated[LogLevel, _option("--log-level", "Minimum log level.")] = LogLevel.INFO

    def __post_init__(self) -> None:
        """Checks user and groups, key and tags. `typer.BadParameter`: no Pod, queue or table can have one of them."""
        optional_id("--worker-run-as-user", self.worker_run_as_user, least=1)  # runAsNonRoot
        optional_id("--worker-run-as-group", self.worker_run_as_group)
        optional_id("--worker-fs-group", self.worker_fs_group)
        check_service("--ingest", self.ingest)
        if self.kms_key_arn and not KEY_ARN.fullmatch(self.kms_key_arn):
            raise typer.BadParameter(f'--kms-key-arn: "{self.kms_key_arn}" is not the ARN of a KMS key')
        for name, value in self.aws_tag:
            if fault := tag_fault(name, value):
                raise typer.BadParameter(f'--aws-tag: "{name}={value}": {fault}')
        for name in self.aws_tag_label:
            if fault := tag_fault(name, ""):
                raise typer.BadParameter(f'--aws-tag-label: "{name}": {fault}')


def optional_id(flag: str, text: str, least: int = 0) -> int | None:
    """The id of a user or group; None for `none`. Raises `typer.BadParameter`."""
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit() and least <= int(text) <= _MOST_ID):
        raise typer.BadParameter(f'{flag}: "{text}" is not a number from {least} to {_MOST_ID}, and not none')
    return int(text)
