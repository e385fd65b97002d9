"""Builds the sources of a route's credentials."""

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

from chaski_core.ports import Clock
from chaski_core.route.model import AllowRule, Auth, AwsSigV4, OAuth2, Route, ServiceAccountToken
from chaski_worker.credentials.files import header_credentials, token_credentials
from chaski_worker.credentials.oauth2 import ClientCredentials
from chaski_worker.credentials.source import CredentialSource
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.guard.guard import api_server_hosts
from chaski_worker.shortage.detection import ShortageError

_log = logging.getLogger(__name__)
_UNUSABLE = {"ecs": {"event.action": "credentials-unusable"}}


def credential_sources(
    route: Route, secrets: Path, clients: TargetClients, clock: Clock
) -> dict[AllowRule, CredentialSource]:
    """The source of each rule that has credentials. One that can't be used affects its rule only, and is logged.

    Args:
        route: the route.
        secrets: folder with one folder for each Secret.
        clients: call token endpoints.
        clock: of tokens and signatures.
    """
    found: dict[AllowRule, CredentialSource] = {}
    for number, rule in enumerate(route.allow):
        if rule.auth is None:
            continue
        found[rule], check = _source(rule, rule.auth, secrets, clients, clock)
        try:
            check()
        except ShortageError as error:
            _log.error(
                "spec.targets.allow[%d].auth: %s; the rule's messages wait until they can",
                number,
                error,
                extra=_UNUSABLE,
            )
    return found


def _source(
    rule: AllowRule, auth: Auth, secrets: Path, clients: TargetClients, clock: Clock
) -> tuple[CredentialSource, Callable[[], object]]:
    """A source, and a function that raises ShortageError where its files can't be used."""
    match auth:
        case OAuth2():
            tokens = ClientCredentials(
                rule,
                auth,
                secrets / auth.secret_name,
                clients=clients,
                clock=clock,
                denied_hosts=api_server_hosts(os.environ),
                random=random.random,
            )
            return tokens, tokens.client
        case ServiceAccountToken():
            token = token_credentials(rule, secrets, clock.monotonic)
            return token, token.current
        case AwsSigV4():
            # Imported here, since it takes botocore, which `chaski dev` does not need otherwise.
            from chaski_worker.credentials.sigv4 import signed_requests  # noqa: PLC0415

            return signed_requests(rule, auth, clock), lambda: None
        case _:
            headers = header_credentials(rule, auth, secrets, clock.monotonic)
            return headers, headers.current
