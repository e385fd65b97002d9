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
from chaski_operator.process import Listening, serve
from chaski_operator.settings import LeaseSettings, OperatorSettings, ReconcileIntervals, ToolPods, WorkerPodTemplate
from chaski_runtime.kube.config import NoKubeAccessError, kube_access
from chaski_runtime.observability import logs

PREFIX = "CHASKI_OPERATOR_"
_DESCRIPTION = """\
Makes what each ChaskiRoute declares: SQS queues, a DynamoDB table, worker Deployments; keeps it so, scales it.

The API server is found by KUBECONFIG, or by the Pod's ServiceAccount. AWS credentials, region and endpoints come from
AWS's usual chain (environment, profile, IRSA, Pod Identity; AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL_DYNAMODB for
stand-ins); workers get the same region and endpoints. One process works at a time: it holds a Lease.
"""
_EPILOG = f"""\
Every flag can be set by an environment variable too: {PREFIX} and the flag in capitals, such as
{PREFIX}WORKER_IMAGE; lists are separated by commas. The flag wins.

examples:
  chaski-operator --worker-image registry.example/chaski/worker:1.2          all namespaces
  chaski-operator --worker-image ... --namespace shop --namespace helpdesk   these two; Roles in them are enough

exit codes: 0 stopped as asked, 1 it could not run, 2 wrong input
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code."""
    given = parser(os.environ).parse_args(arguments)
    try:
        access = kube_access()
    except NoKubeAccessError as error:
        return _fail(2, str(error))
    settings = settings_of(given, os.environ, access.namespace)
    log = logs.configure(given.log_format, given.log_level, service="chaski-operator")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, access, Listening(given.host, given.metrics_port)))
    except (ChaskiError, OSError) as error:
        return _fail(1, str(error))
    finally:
        log.close()
    return 0


def settings_of(given: argparse.Namespace, environment: Mapping[str, str], namespace: str) -> OperatorSettings:
    """The settings that the command line and the environment make.

    Args:
        given: the parsed command line.
        environment: of the process.
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
    pace = ReconcileIntervals(
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
        pods, lease, tuple(given.namespace), given.installation, pace, tools if given.tools_image else None
    )


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line, with defaults from the environment."""
    made = argparse.ArgumentParser(
        "chaski-operator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=__version__)
    flags = _Flags(made, environment)
    flags.text("--worker-image", None, "image of the workers (needed)")
    flags.text("--worker-pull-policy", "IfNotPresent", "when the kubelet pulls it")
    flags.many("--worker-pull-secret", "Secret for a private registry; may be given several times")
    flags.text("--worker-role-arn", "", "IAM role on the workers' ServiceAccounts (IRSA)")
    flags.pairs("--worker-env", "environment of the workers, NAME=VALUE; may be given several times")
    flags.flag("--worker-network-policy", "make a NetworkPolicy for the workers of each route")
    flags.text("--tools-image", "", "image with the command chaski, for replays; without it ChaskiReplays wait")
    flags.text("--tools-pull-policy", "IfNotPresent", "when the kubelet pulls it")
    flags.text("--tools-role-arn", "", "IAM role on the ServiceAccounts of replays (IRSA)")
    flags.many("--namespace", "serve only this namespace; may be given several times (default: all)")
    purpose = "name of this installation in AWS tags; two in one account need two (default: the UID of kube-system)"
    flags.text("--installation", "", purpose)
    flags.number("--resync-seconds", 300.0, "between two full looks at a route")
    flags.number("--busy-seconds", 10.0, "between two looks while queues run empty or a table is being made")
    flags.number("--drained-seconds", 60.0, "a queue must be seen empty so long before it is deleted")
    flags.number("--fence-seconds", 60.0, "a queue policy takes so long to be in force everywhere")
    flags.number("--scaling-seconds", 10.0, "between two looks of the autoscaler at a route's queues and Pods")
    flags.number("--scale-down-window-seconds", 300.0, "a Pod goes when it was not wanted for so long", most=3600)
    flags.number("--aws-threads", 16, "calls to AWS at the same time")
    flags.text("--lease-namespace", "", "namespace of the Lease (default: the Pod's)")
    flags.text("--lease-name", "chaski-operator", "its name")
    flags.number("--lease-seconds", 15, "after which another process may take it")
    flags.text("--identity", socket.gethostname(), "who holds it (default: the Pod's name)")
    flags.text("--host", "0.0.0.0", "where health and metrics listen")  # noqa: S104 - Pods are scraped from outside
    flags.number("--metrics-port", 9090, "0 takes a free one")
    flags.choice("--log-format", ("json", "console"), "json")
    flags.choice("--log-level", ("debug", "info", "warning", "error"), "info")
    return made


class _Flags:
    """Adds flags whose defaults an environment variable may give."""

    def __init__(self, to: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
        self._to = to
        self._environment = environment

    def text(self, flag: str, default: str | None, told: str) -> None:
        """A text; without a default it is needed."""
        value = self._given(flag) or default
        self._to.add_argument(flag, default=value, required=value is None, metavar="TEXT", help=_help(told, default))

    def number(self, flag: str, default: float, told: str, most: float = 1e9) -> None:
        """A number that is not negative, nor more than `most`; whole where the default is."""
        kind = _whole if isinstance(default, int) else partial(_seconds, most)
        self._to.add_argument(
            flag, type=kind, default=self._given(flag) or default, metavar="N", help=_help(told, f"{default:g}")
        )

    def many(self, flag: str, told: str) -> None:
        """Texts."""
        given = [each for each in self._given(flag).split(",") if each]
        self._to.add_argument(flag, action=_Replacing, default=given, metavar="TEXT", help=told)

    def pairs(self, flag: str, told: str) -> None:
        """`NAME=VALUE`."""
        given = [_pair(each) for each in self._given(flag).split(",") if each]
        self._to.add_argument(flag, action=_Replacing, type=_pair, default=given, metavar="NAME=VALUE", help=told)

    def flag(self, flag: str, told: str) -> None:
        """Yes or no."""
        self._to.add_argument(
            flag,
            action=argparse.BooleanOptionalAction,
            default=self._given(flag).lower() in ("1", "true", "yes"),
            help=told,
        )

    def choice(self, flag: str, choices: tuple[str, ...], default: str) -> None:
        """One of several words."""
        self._to.add_argument(flag, choices=choices, default=self._given(flag) or default, help=f"default: {default}")

    def _given(self, flag: str) -> str:
        return self._environment.get(PREFIX + flag.removeprefix("--").replace("-", "_").upper(), "")


class _Replacing(argparse.Action):
    """Like `append`, but what is given replaces the default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Adds one."""
        del parser, option
        marked = f"_{self.dest}_given"
        before = getattr(namespace, self.dest) if hasattr(namespace, marked) else []
        setattr(namespace, marked, True)
        setattr(namespace, self.dest, [*before, values])


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What workers need to reach the same AWS: never credentials, they have their own."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_STS")
    found = {name: environment[name] for name in names if environment.get(name)}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return found | ({"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {})


def _help(told: str, default: str | None) -> str:
    return f"{told} (default: {default})" if default and "(default" not in told else told


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=VALUE')
    return name, value


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number')
    return int(text)


def _seconds(most: float, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f'"{text}" is no number of seconds from 0 to {most:g}')
    return value


def _fail(code: int, text: str) -> int:
    sys.stderr.write(f"chaski-operator: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
