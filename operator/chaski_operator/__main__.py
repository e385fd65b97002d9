"""The command `chaski-operator`."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial

import uvloop

from chaski_core import __version__
from chaski_core.errors import ChaskiError
from chaski_operator.process import ListenAddress, serve
from chaski_operator.settings import LeaseSettings, OperatorSettings, ReconcileIntervals, ToolPods, WorkerPodTemplate
from chaski_runtime.kube.config import NoKubeAccessError, kube_access
from chaski_runtime.observability import logs

PREFIX = "CHASKI_OPERATOR_"
_DESCRIPTION = """\
Provisions what each ChaskiRoute declares: SQS queues, a DynamoDB table, worker Deployments. Corrects drift, and scales
the workers.

The API server is configured by KUBECONFIG or the Pod's ServiceAccount. AWS credentials, region and endpoints come from
AWS's usual chain (environment, profile, IRSA, Pod Identity; AWS_ENDPOINT_URL_SQS and AWS_ENDPOINT_URL_DYNAMODB for
emulators); workers get the same region and endpoints. Only the process that holds the Lease is active.
"""
_EPILOG = f"""\
Every flag can also be set by an environment variable: {PREFIX} followed by the flag in capitals, such as
{PREFIX}WORKER_IMAGE; lists are separated by commas. A flag takes precedence.

examples:
  chaski-operator --worker-image registry.example/chaski/worker:1.2          all namespaces
  chaski-operator --worker-image ... --namespace shop --namespace helpdesk   two namespaces; Roles in them are enough

exit codes: 0 stopped by a signal, 1 could not run, 2 invalid input
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    given = parser(os.environ).parse_args(arguments)
    try:
        access = kube_access()
    except NoKubeAccessError as error:
        return _fail(2, str(error))
    settings = settings_of(given, os.environ, access.namespace)
    log = logs.configure(given.log_format, given.log_level, service="chaski-operator")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, access, ListenAddress(given.host, given.metrics_port)))
    except (ChaskiError, OSError) as error:
        return _fail(1, str(error))
    finally:
        log.close()
    return 0


def settings_of(given: argparse.Namespace, environment: Mapping[str, str], namespace: str) -> OperatorSettings:
    """The settings from the command line and the environment.

    Args:
        given: the parsed command line.
        environment: of the process; AWS regions and endpoints are passed on to workers.
        namespace: of the Pod, or of the kubeconfig's context.
    """
    pods = WorkerPodTemplate(
        image=given.worker_image,
        pull_policy=given.worker_pull_policy,
        pull_secrets=tuple(given.worker_pull_secret),
        role_arn=given.worker_role_arn or None,
        environment=_passed_on(environment) | dict(given.worker_env),
        network_policy=given.worker_network_policy,
    )
    intervals = ReconcileIntervals(
        resync_seconds=given.resync_seconds,
        busy_seconds=min(given.busy_seconds, given.resync_seconds),
        drained_seconds=given.drained_seconds,
        fence_seconds=given.fence_seconds,
        scaling_seconds=given.scaling_seconds,
        down_window_seconds=given.scale_down_window_seconds,
        aws_threads=given.aws_threads,
    )
    lease = LeaseSettings(
        namespace=given.lease_namespace or namespace,
        name=given.lease_name,
        identity=given.identity,
        duration_seconds=given.lease_seconds,
        renew_seconds=given.lease_seconds / 3,
    )
    tools = ToolPods(
        image=given.tools_image,
        pull_policy=given.tools_pull_policy,
        pull_secrets=pods.pull_secrets,
        role_arn=given.tools_role_arn or None,
        environment=pods.environment,
        network_policy=pods.network_policy,
    )
    return OperatorSettings(
        pods, lease, tuple(given.namespace), given.installation, intervals, tools if given.tools_image else None
    )


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line, with defaults from the environment."""
    result = argparse.ArgumentParser(
        "chaski-operator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=__version__)
    flags = _Flags(result, environment)
    flags.text("--worker-image", None, "image of the workers (required)")
    flags.text("--worker-pull-policy", "IfNotPresent", "pull policy of that image")
    flags.many("--worker-pull-secret", "Secret for a private registry; repeatable")
    flags.text("--worker-role-arn", "", "IAM role on the workers' ServiceAccounts (IRSA)")
    flags.pairs("--worker-env", "environment of the workers, NAME=VALUE; repeatable")
    flags.flag("--worker-network-policy", "create a NetworkPolicy for the workers of each route")
    flags.text("--tools-image", "", "image with the command chaski, for replays; without it ChaskiReplays stay pending")
    flags.text("--tools-pull-policy", "IfNotPresent", "pull policy of that image")
    flags.text("--tools-role-arn", "", "IAM role on the ServiceAccounts of replays (IRSA)")
    flags.many("--namespace", "serve only this namespace; repeatable (default: all)")
    purpose = "name of this installation in AWS tags, unique in the account (default: the UID of kube-system)"
    flags.text("--installation", "", purpose)
    flags.number("--resync-seconds", 300.0, "between two full reconciliations of a route")
    flags.number("--busy-seconds", 10.0, "between two reconciliations while queues drain or a table is being created")
    flags.number("--drained-seconds", 60.0, "for which a draining queue must stay empty before it is deleted")
    flags.number("--fence-seconds", 60.0, "until a queue policy takes effect everywhere")
    flags.number("--scaling-seconds", 10.0, "between two checks of a route's queues and Pods by the autoscaler")
    flags.number(
        "--scale-down-window-seconds", 300.0, "for which a Pod must be surplus before it is removed", maximum=3600
    )
    flags.number("--aws-threads", 16, "concurrent calls to AWS")
    flags.text("--lease-namespace", "", "namespace of the Lease (default: the Pod's)")
    flags.text("--lease-name", "chaski-operator", "name of the Lease")
    flags.number("--lease-seconds", 15, "without a renewal after which another process may take it")
    flags.text("--identity", socket.gethostname(), "identity of its holder (default: the Pod's name)")
    flags.text("--host", "0.0.0.0", "address of the health and metrics endpoints")  # noqa: S104 - Pods are scraped from outside
    flags.number("--metrics-port", 9090, "port of these endpoints; 0: any free port")
    flags.choice("--log-format", ("json", "console"), "json")
    flags.choice("--log-level", ("debug", "info", "warning", "error"), "info")
    return result


class _Flags:
    """Adds flags that take their defaults from environment variables."""

    def __init__(self, parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
        self._parser = parser
        self._environment = environment

    def text(self, flag: str, default: str | None, purpose: str) -> None:
        """A text; without a default it is required."""
        value = self._given(flag) or default
        self._parser.add_argument(
            flag, default=value, required=value is None, metavar="TEXT", help=_help(purpose, default)
        )

    def number(self, flag: str, default: float, purpose: str, maximum: float = 1e9) -> None:
        """A number from 0 to `maximum`; an integer if the default is one."""
        kind = _whole if isinstance(default, int) else partial(_seconds, maximum)
        self._parser.add_argument(
            flag, type=kind, default=self._given(flag) or default, metavar="N", help=_help(purpose, f"{default:g}")
        )

    def many(self, flag: str, purpose: str) -> None:
        """A list of texts."""
        given = [each for each in self._given(flag).split(",") if each]
        self._parser.add_argument(flag, action=_Replacing, default=given, metavar="TEXT", help=purpose)

    def pairs(self, flag: str, purpose: str) -> None:
        """A list of `NAME=VALUE`."""
        given = [_pair(each) for each in self._given(flag).split(",") if each]
        self._parser.add_argument(
            flag, action=_Replacing, type=_pair, default=given, metavar="NAME=VALUE", help=purpose
        )

    def flag(self, flag: str, purpose: str) -> None:
        """A switch."""
        self._parser.add_argument(
            flag,
            action=argparse.BooleanOptionalAction,
            default=self._given(flag).lower() in ("1", "true", "yes"),
            help=purpose,
        )

    def choice(self, flag: str, choices: tuple[str, ...], default: str) -> None:
        """One of several values."""
        self._parser.add_argument(
            flag, choices=choices, default=self._given(flag) or default, help=f"default: {default}"
        )

    def _given(self, flag: str) -> str:
        return self._environment.get(PREFIX + flag.removeprefix("--").replace("-", "_").upper(), "")


class _Replacing(argparse.Action):
    """Like `append`, but the first value replaces the default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        del parser, option
        marked = f"_{self.dest}_given"
        before = getattr(namespace, self.dest) if hasattr(namespace, marked) else []
        setattr(namespace, marked, True)
        setattr(namespace, self.dest, [*before, values])


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """AWS region and endpoints for the workers. Never credentials: they have their own."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_STS")
    found = {name: environment[name] for name in names if environment.get(name)}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return found | ({"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {})


def _help(purpose: str, default: str | None) -> str:
    return f"{purpose} (default: {default})" if default and "(default" not in purpose else purpose


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=VALUE')
    return name, value


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not an integer')
    return int(text)


def _seconds(maximum: float, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= maximum:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds from 0 to {maximum:g}')
    return value


def _fail(code: int, text: str) -> int:
    sys.stderr.write(f"chaski-operator: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
