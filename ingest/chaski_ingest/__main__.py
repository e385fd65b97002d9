"""The command `chaski-ingest`."""

import asyncio
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from chaski_core import __version__
from chaski_core.errors import InvalidInputError
from chaski_ingest.activity import AUDIENCE
from chaski_ingest.auth.authenticators import AuthMode, authenticator_for
from chaski_ingest.auth.peers import PeerPods
from chaski_ingest.auth.service_account import AuthorizeFactory, service_account_only
from chaski_ingest.auth.token_review import Identity
from chaski_ingest.http.server import ServerCertificate
from chaski_ingest.process import Listen, Openers, RouteSource, serve
from chaski_ingest.routes import RouteFiles
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import NoKubeAccessError, kube_access, plain_access
from chaski_runtime.kube.route_cache import KubeRoutes
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command import (
    HOST_DEFAULT,
    LogFormat,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    MetricsPortOption,
    add_command,
    check_service,
    comma_separated,
    run_app,
    service_app,
)
from chaski_runtime.process.command_error import ExitCode, wrong_input
from chaski_runtime.process.http_server import EVERY_ADDRESS

_DESCRIPTION = """\
Accepts messages over HTTP and sends them to the SQS queues of their routes; 202 means that the queue has stored them durably.

Credentials, region and endpoint come from AWS's usual chain (environment, profile, IRSA, Pod Identity; \
AWS_ENDPOINT_URL_SQS for emulators). Route files are checked for changes every five seconds; if one is invalid, an error \
is logged and the routes are kept. In a cluster ChaskiRoutes are watched, with the Pod's ServiceAccount or KUBECONFIG; \
while the API server is unavailable, the known routes are served. On SIGTERM new requests are refused and requests in \
progress are completed.

\b
Examples:
  chaski-ingest --auth none --routes resolved.yaml          one file, of one or several resolved routes
  chaski-ingest --auth none --routes /etc/chaski/routes     a folder of them, such as a mounted ConfigMap
  chaski-ingest --kubernetes                                every route of the cluster whose queues exist
  chaski-ingest --kubernetes --namespace a --namespace b    those of two namespaces

Exit codes: 0 stopped on request, 1 could not run, 2 invalid input.
"""


_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line."""

    routes: Annotated[Path | None, typer.Option(metavar="FILE|DIR", help="Resolved routes.", show_default=False)] = None
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="The ChaskiRoutes of a cluster, watched for changes.")
    ] = False
    namespace: Annotated[
        list[str],
        typer.Option(
            metavar="NS",
            help="With --kubernetes: only this namespace; repeatable. Environment variable: CHASKI_INGEST_NAMESPACE,"
            " separated by commas.",
            show_default=False,
        ),
    ] = field(default_factory=comma_separated("CHASKI_INGEST_NAMESPACE"))
    auth: Annotated[
        AuthMode | None,
        typer.Option(
            envvar="CHASKI_INGEST_AUTH",
            help="kubernetes: ServiceAccount tokens and API keys; keys: API keys only; none: any client that reaches the"
            " port may send.",
            show_default="kubernetes with --kubernetes, else keys",
        ),
    ] = None
    peers: Annotated[
        str,
        typer.Option(
            envvar="CHASKI_INGEST_PEERS",
            metavar="NS/SERVICE",
            help="With --kubernetes: the Service whose ready Pods share each producer's rate.",
            show_default="each Pod has the whole rate",
        ),
    ] = ""
    activity_reader: Annotated[
        str,
        typer.Option(
            envvar="CHASKI_INGEST_ACTIVITY_READER",
            metavar="NS/ACCOUNT",
            help="With --kubernetes: the ServiceAccount, the operator's, that may ask which queues got messages, on the"
            " metrics port.",
            show_default="no account",
        ),
    ] = ""
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            envvar="CHASKI_INGEST_TLS_CERT",
            metavar="FILE",
            help="Serve HTTPS with this certificate (PEM).",
            show_default=False,
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        typer.Option(
            envvar="CHASKI_INGEST_TLS_KEY",
            metavar="FILE",
            help="The key of --tls-cert; both are reloaded when they change.",
            show_default=False,
        ),
    ] = None
    host: Annotated[
        str,
        typer.Option(
            envvar="CHASKI_INGEST_HOST", metavar="ADDRESS", help="Address to listen on.", show_default=HOST_DEFAULT
        ),
    ] = EVERY_ADDRESS  # clients connect from outside the Pod
    # No environment variable: Kubernetes sets CHASKI_INGEST_PORT for a Service of the name chaski-ingest.
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port for messages; 0: any free port.")] = (
        8080
    )
    metrics_port: MetricsPortOption = 9090
    log_format: LogFormatOption = LogFormat.JSON
    log_level: LogLevelOption = LogLevel.INFO

    def __post_init__(self) -> None:
        """Checks flags that need or exclude each other. `typer.BadParameter`: they do not fit."""
        if (self.routes is None) != self.kubernetes:
            raise typer.BadParameter("give either --routes or --kubernetes")
        if self.namespace and not self.kubernetes:
            raise typer.BadParameter("--namespace requires --kubernetes")
        if self.peers and not self.kubernetes:
            raise typer.BadParameter("--peers requires --kubernetes")
        check_service("--peers", self.peers)
        if self.activity_reader and not self.kubernetes:
            raise typer.BadParameter("--activity-reader requires --kubernetes")
        if self.activity_reader and not _ACCOUNT.match(self.activity_reader):
            raise typer.BadParameter(f'--activity-reader: "{self.activity_reader}" is not NAMESPACE/SERVICEACCOUNT')
        if (self.tls_cert is None) != (self.tls_key is None):
            raise typer.BadParameter("--tls-cert and --tls-key require each other")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    app = service_app("chaski-ingest")
    add_command(app, Arguments, _run, name="chaski-ingest", description=_DESCRIPTION)
    return run_app(app, arguments)


def _run(given: Arguments) -> ExitCode:
    mode = AuthMode(given.auth or (AuthMode.KUBERNETES if given.kubernetes else AuthMode.KEYS))
    try:
        open_routes = _kube_routes(given.namespace) if given.routes is None else _route_files(given.routes)
        open_authenticator = authenticator_for(mode)
    except InvalidInputError as error:
        raise wrong_input(
            "\n".join([f"invalid routes in {given.routes}", *(f"  {each}" for each in error.errors)])
        ) from error
    except NoKubeAccessError as error:
        raise wrong_input(f"{'--kubernetes' if given.kubernetes else '--auth kubernetes'}: {error}") from error
    except OSError as error:
        raise wrong_input(f"--routes {given.routes}: {error.strerror}") from error
    try:
        certificate = _certificate(given.tls_cert, given.tls_key)
    except (OSError, ValueError) as error:
        raise wrong_input(f"--tls-cert {given.tls_cert}: {error}") from error
    openers = Openers(open_routes, open_authenticator, _peers(given.peers), _activity_reader(given.activity_reader))
    listen = Listen(given.host, given.port, given.metrics_port, certificate)
    descriptors.raise_limit()
    log = logs.configure(given.log_format.value, given.log_level.value, service="chaski-ingest")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(openers, listen, log))
    finally:
        log.close()
    return ExitCode.OK


def _route_files(path: Path) -> Callable[[], RouteSource]:
    routes = RouteFiles(path)
    return lambda: routes


def _kube_routes(namespaces: Sequence[str]) -> Callable[[], RouteSource]:
    access = plain_access(kube_access())
    agent = f"chaski-ingest/{__version__}"
    return lambda: KubeRoutes(KubeApi(access, user_agent=agent), namespaces, SystemClock(), random.random)


def _peers(service: str) -> Callable[[], PeerPods] | None:
    if not service:
        return None
    namespace, _, name = service.partition("/")
    access = plain_access(kube_access())
    agent = f"chaski-ingest/{__version__}"
    return lambda: PeerPods(KubeApi(access, user_agent=agent), (namespace, name), SystemClock(), random.random)


def _activity_reader(account: str) -> AuthorizeFactory | None:
    if not account:
        return None
    namespace, _, name = account.partition("/")
    return service_account_only(plain_access(kube_access()), Identity(namespace, name), AUDIENCE)


def _certificate(certificate: Path | None, key: Path | None) -> ServerCertificate | None:
    if certificate is None or key is None:
        return None
    return ServerCertificate(certificate, key, SystemClock().monotonic)


if __name__ == "__main__":
    sys.exit(main())
