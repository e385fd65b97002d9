"""The command `chaski-ingest`."""

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from chaski_core import __version__
from chaski_core.errors import ChaskiError, InvalidInputError
from chaski_ingest.auth.authenticators import AuthMode, authenticator_for
from chaski_ingest.http.server import ServerCertificate
from chaski_ingest.process import Listen, RouteSource, serve
from chaski_ingest.routes import RouteFiles
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import NoKubeAccessError, kube_access
from chaski_runtime.kube.route_cache import KubeRoutes
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
from chaski_runtime.process.clock import SystemClock

_DESCRIPTION = """\
Accepts messages over HTTP and sends them to the SQS queues of their routes; 202 means that the queue has stored them durably.

Credentials, region and endpoint come from AWS's usual chain (environment, profile, IRSA, Pod Identity;
AWS_ENDPOINT_URL_SQS for emulators). Route files are checked for changes every five seconds; if one is invalid, an error
is logged and the routes are kept. In a cluster ChaskiRoutes are watched, with the Pod's ServiceAccount or KUBECONFIG;
while the API server is unavailable, the known routes are served. On SIGTERM new requests are refused and requests in
progress are completed.
"""
_EPILOG = """\
examples:
  chaski-ingest --auth none --routes resolved.yaml         one file, of one or several resolved routes
  chaski-ingest --auth none --routes /etc/chaski/routes    a folder of them, such as a mounted ConfigMap
  chaski-ingest --kubernetes                               every route of the cluster whose queues exist
  chaski-ingest --kubernetes --namespace a b               those of two namespaces

exit codes: 0 stopped on request, 1 could not run, 2 invalid input
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.namespace and not given.kubernetes:
        parser.error("--namespace needs --kubernetes")
    if (given.tls_cert is None) != (given.tls_key is None):
        parser.error("--tls-cert and --tls-key need each other")
    mode = AuthMode(given.auth or (AuthMode.KUBERNETES if given.kubernetes else AuthMode.KEYS))
    try:
        open_routes = _kube_routes(given.namespace) if given.kubernetes else _route_files(given.routes)
        open_authenticator = authenticator_for(mode)
    except InvalidInputError as error:
        return _fail(2, "\n".join([f"invalid routes in {given.routes}", *(f"  {each}" for each in error.faults)]))
    except NoKubeAccessError as error:
        return _fail(2, f"{'--kubernetes' if given.kubernetes else '--auth kubernetes'}: {error}")
    except OSError as error:
        return _fail(2, f"--routes {given.routes}: {error.strerror}")
    try:
        certificate = _certificate(given.tls_cert, given.tls_key)
    except (OSError, ValueError) as error:
        return _fail(2, f"--tls-cert {given.tls_cert}: {error}")
    listen = Listen(given.host, given.port, given.metrics_port, certificate)
    descriptors.raise_limit()
    log = logs.configure(given.log_format, given.log_level, service="chaski-ingest")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(open_routes, open_authenticator, listen, log))
    except (ChaskiError, OSError) as error:
        return _fail(1, str(error))
    finally:
        log.close()
    return 0


def _route_files(path: Path) -> Callable[[], RouteSource]:
    routes = RouteFiles(path)
    return lambda: routes


def _kube_routes(namespaces: Sequence[str]) -> Callable[[], RouteSource]:
    access = kube_access()
    agent = f"chaski-ingest/{__version__}"
    return lambda: KubeRoutes(KubeApi(access, user_agent=agent), namespaces, SystemClock(), random.random)


def _certificate(certificate: Path | None, key: Path | None) -> ServerCertificate | None:
    if certificate is None or key is None:
        return None
    return ServerCertificate(certificate, key, SystemClock().monotonic)


def _fail(code: int, text: str) -> int:
    sys.stderr.write(f"chaski-ingest: {text}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "chaski-ingest", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--routes", type=Path, metavar="FILE|DIR", help="resolved routes")
    source.add_argument("--kubernetes", action="store_true", help="the ChaskiRoutes of a cluster, watched for changes")
    parser.add_argument(
        "--namespace",
        nargs="+",
        action="extend",
        default=[],
        metavar="NS",
        help="with --kubernetes: only these namespaces",
    )
    parser.add_argument(
        "--auth",
        choices=tuple(AuthMode),
        help="kubernetes: ServiceAccount tokens and API keys; keys: API keys only; none: any client that reaches the port"
        " may send (default: kubernetes with --kubernetes, else keys)",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve HTTPS with this certificate (PEM)")
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="the key of --tls-cert; both are reloaded when they change"
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")  # noqa: S104 - clients connect from outside the Pod
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="0: a free one (default: 8080)")
    parser.add_argument("--metrics-port", type=int, default=9090, metavar="N", help="0: a free one (default: 9090)")
    parser.add_argument("--log-format", choices=("json", "console"), default="json", help="default: %(default)s")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
