"""The command `chaski-operator`."""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

import uvloop

from chaski_operator.command.arguments import PREFIX, Arguments
from chaski_operator.command.configuration import settings_of
from chaski_operator.command.environment import read_ca_bundle, withheld_proxies
from chaski_operator.kube.login import checked_access
from chaski_operator.process import ListenAddress, serve
from chaski_runtime.kube.config import NoKubeAccessError, kube_access
from chaski_runtime.observability import logs
from chaski_runtime.process.command import add_command, run_app, service_app
from chaski_runtime.process.command_error import ExitCode, wrong_input

_DESCRIPTION = f"""\
Provisions what each ChaskiRoute declares: SQS queues, a DynamoDB table, worker Deployments. Corrects drift, and scales \
the workers.

The API server is configured by KUBECONFIG or the Pod's ServiceAccount. AWS credentials, region and endpoints come from \
AWS's usual chain (environment, profile, IRSA, Pod Identity; AWS_ENDPOINT_URL_SQS and AWS_ENDPOINT_URL_DYNAMODB for \
emulators). Workers and replays get the same region, endpoints (AWS_ENDPOINT_URL and those of SQS, DynamoDB and STS), \
AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, the certificates of AWS_CA_BUNDLE, and HTTPS_PROXY, HTTP_PROXY and \
NO_PROXY, which only calls to AWS use; a proxy with a password is not passed on. --worker-env replaces each. \
Only the process that holds the Lease is active.

Every flag can also be set by an environment variable: {PREFIX} followed by the flag in capitals, such as \
{PREFIX}WORKER_IMAGE; lists are separated by commas. A flag takes precedence.

\b
Examples:
  chaski-operator --worker-image registry.example/chaski/worker:1.2          all namespaces
  chaski-operator --worker-image ... --namespace shop --namespace helpdesk   two namespaces; Roles in them are enough

Exit codes: 0 stopped by a signal, 1 could not run, 2 invalid input.
"""


_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    app = service_app("chaski-operator")
    add_command(app, Arguments, _run, name="chaski-operator", description=_DESCRIPTION)
    return run_app(app, arguments)


def _run(given: Arguments) -> ExitCode:
    try:
        access = checked_access(kube_access())
    except NoKubeAccessError as error:
        raise wrong_input(str(error)) from error
    settings = settings_of(given, os.environ, access.namespace, read_ca_bundle(os.environ))
    log = logs.configure(given.log_format.value, given.log_level.value, service="chaski-operator")
    for name in withheld_proxies(os.environ):
        _log.warning("%s has a password, so workers and replays do not get it: set it with --worker-env", name)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, access, ListenAddress(given.host, given.metrics_port)))
    finally:
        log.close()
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
