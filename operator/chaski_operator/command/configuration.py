"""The settings that result from the command line and the environment."""

from collections.abc import Mapping

from chaski_operator.command.arguments import Arguments, optional_id
from chaski_operator.command.environment import worker_environment
from chaski_operator.command.pod_defaults import pod_defaults
from chaski_operator.settings import (
    IngestService,
    LeaseSettings,
    OperatorSettings,
    PodSettings,
    ReconcileIntervals,
    ToolPods,
    WorkerPodTemplate,
)


def settings_of(
    given: Arguments, environment: Mapping[str, str], namespace: str, ca_bundle: str | None = None
) -> OperatorSettings:
    """The settings from the command line and the environment.

    Args:
        given: the parsed command line.
        environment: of the process; the way to AWS is passed on to workers.
        namespace: of the Pod, or of the kubeconfig's context.
        ca_bundle: the content of `AWS_CA_BUNDLE`.
    """
    pods = WorkerPodTemplate(
        image=given.worker_image,
        pull_policy=given.worker_pull_policy,
        pull_secrets=tuple(given.worker_pull_secret),
        role_arn=given.worker_role_arn or None,
        role_arns=dict(given.worker_role),
        environment=worker_environment(environment, dict(given.worker_env)),
        network_policy=given.worker_network_policy,
        metrics_from=given.worker_metrics_from,
        common=_pod_settings(given, ca_bundle),
        defaults=pod_defaults(given.worker_pod),
    )
    return OperatorSettings(
        pods,
        _lease_settings(given, namespace),
        tuple(given.namespace),
        given.installation,
        _intervals(given),
        remove_additions=given.remove_additions,
        producers_required=given.producers_required,
        policies=given.policies,
        ingest=IngestService(given.ingest, given.ingest_token) if given.ingest else None,
        tools=_tool_pods(given, pods) if given.tools_image else None,
        kms_key=given.kms_key_arn or None,
        aws_tags=dict(given.aws_tag),
        aws_tag_labels=tuple(given.aws_tag_label),
    )


def _tool_pods(given: Arguments, workers: WorkerPodTemplate) -> ToolPods:
    return ToolPods(
        image=given.tools_image,
        pull_policy=given.tools_pull_policy,
        pull_secrets=workers.pull_secrets,
        role_arn=given.tools_role_arn or None,
        role_arns=dict(given.tools_role),
        environment=workers.environment,
        network_policy=workers.network_policy,
        metrics_from=workers.metrics_from,
        common=workers.common,
        defaults=workers.defaults,
    )


def _lease_settings(given: Arguments, namespace: str) -> LeaseSettings:
    return LeaseSettings(
        namespace=given.lease_namespace or namespace,
        name=given.lease_name,
        identity=given.identity,
        duration_seconds=given.lease_seconds,
        renew_seconds=given.lease_seconds * 2 / 15,
        call_seconds=given.lease_seconds / 5,
        deadline_seconds=given.lease_seconds * 2 / 3,
    )


def _intervals(given: Arguments) -> ReconcileIntervals:
    return ReconcileIntervals(
        resync_seconds=given.resync_seconds,
        unreachable_seconds=given.unreachable_seconds,
        busy_seconds=min(given.busy_seconds, given.resync_seconds),
        drained_seconds=given.drained_seconds,
        fence_seconds=given.fence_seconds,
        scaling_seconds=given.scaling_seconds,
        idle_seconds=given.idle_seconds,
        down_window_seconds=given.scale_down_window_seconds,
        aws_threads=given.aws_threads,
    )


def _pod_settings(given: Arguments, ca_bundle: str | None) -> PodSettings:
    return PodSettings(
        run_as_user=optional_id("--worker-run-as-user", given.worker_run_as_user),
        run_as_group=optional_id("--worker-run-as-group", given.worker_run_as_group),
        fs_group=optional_id("--worker-fs-group", given.worker_fs_group),
        ndots=given.worker_ndots,
        aws_ca_bundle=ca_bundle,
    )
