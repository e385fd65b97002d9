"""The official client's `Configuration` of an access, with the credentials that are valid now."""

import base64
import binascii
import math
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config_from_dict
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.kube_config import ConfigNode
from multidict import CIMultiDict

from chaski_core.message.target_url import is_loopback
from chaski_runtime.kube.client import KubeUnavailableError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.kubeconfig import KubeconfigContext

_MARGIN_SECONDS = 60.0  # before the expiry; half the lifetime if that is shorter
_STATIC = ("client-certificate", "client-certificate-data", "client-key", "client-key-data", "username", "password")


@dataclass(frozen=True, slots=True)
class LoadedCredentials:
    """Credentials as they were at one time."""

    access: KubeAccess  # where they come from
    configuration: Configuration
    loaded_at: float  # Unix seconds
    refresh_at: float = math.inf  # Unix seconds; when they should be loaded again
    renewable: bool = False  # whether loading them again can give others


async def load(access: KubeAccess, now: float) -> LoadedCredentials:
    """Loads the credentials of an access; runs the credential plugin of a kubeconfig.

    Args:
        access: where they are.
        now: Unix seconds.

    Raises:
        KubeUnavailableError: they can't be loaded at the moment; says why.
    """
    configuration = Configuration(
        connection_pool_maxsize=0,  # no limit: each watch holds a connection
        # Without trust_env: it also sends the passwords of ~/.netrc. Proxies of the environment: `_proxy`.
        client_session_kwargs={"trust_env": False},
    )
    if access.context is None:
        _set_service_account(configuration, access)
        return LoadedCredentials(access, configuration, now)
    try:
        return await _load_context(access.context, configuration, access, now)
    except (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KubeUnavailableError(f"the kubeconfig's credentials can't be loaded: {error}") from error


def _set_service_account(configuration: Configuration, access: KubeAccess) -> None:
    # By hand: `load_incluster_config` reads the token once a minute, and keeps it when the file can't be read.
    configuration.host = access.server
    configuration.ssl_ca_cert = str(access.ca_file) if access.ca_file else None
    configuration.ca_cert_data = access.ca_pem
    configuration.verify_ssl = not access.insecure
    _follow_token(configuration, access)


def _follow_token(configuration: Configuration, access: KubeAccess) -> None:
    """Reads the token for each request; the library keeps that of a file for ever, with its line end."""
    if access.token is None and access.token_file is None:
        return

    def refresh(used: Configuration) -> None:
        used.api_key["BearerToken"] = f"Bearer {access.bearer_token()}"

    configuration.api_key["BearerToken"] = ""  # the library asks for a token only where one is set
    configuration.refresh_api_key_hook = refresh


async def _load_context(
    context: KubeconfigContext, configuration: Configuration, access: KubeAccess, now: float
) -> LoadedCredentials:
    user = {key: value for key, value in context.user.items() if key in _STATIC}
    refresh_at, renewable = math.inf, False
    if access.token is not None or access.token_file is not None:
        _follow_token(configuration, access)
    elif "auth-provider" in context.user:
        user["token"], expiry = _oidc(context.user["auth-provider"], now)
        refresh_at, renewable = _before(expiry, now), True
    elif "exec" in context.user and "username" not in context.user:
        added, expiry = await _exec(context.user["exec"])
        user |= added
        refresh_at, renewable = _before(expiry, now), True
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": context.cluster}],
        "users": [{"name": "c", "user": user}],
    }
    await load_kube_config_from_dict(document, client_configuration=configuration)
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    configuration.client_session_kwargs["headers"] = CIMultiDict(context.impersonation())
    return LoadedCredentials(access, configuration, now, refresh_at, renewable)


async def _exec(plugin: Mapping[str, Any]) -> tuple[dict[str, str], float]:
    """Runs a credential plugin, such as `aws eks get-token`.

    Not by the library's loader: that logs the failure of a plugin, and goes on without credentials.

    Returns:
        keys of a kubeconfig's user, and the expiry in Unix seconds.

    Raises:
        ValueError: it failed, or gave no credentials.
    """
    command = " ".join([plugin.get("command", ""), *map(str, plugin.get("args", ()))])
    try:
        status = await ExecProvider(ConfigNode("exec", plugin)).run()
    except (ConfigException, OSError) as error:
        hint = f" ({plugin['installHint'].strip()})" if "installHint" in plugin else ""
        raise ValueError(f"the credential plugin `{command}` failed: {error}{hint}") from error
    user = {}
    if status.get("token"):
        user["token"] = status["token"].strip()
    for key, given in (("client-certificate-data", "clientCertificateData"), ("client-key-data", "clientKeyData")):
        if status.get(given):
            user[key] = base64.b64encode(status[given].encode()).decode()
    if not user:
        raise ValueError(f"the credential plugin `{command}` returned neither a token nor a client certificate")
    expiry = status.get("expirationTimestamp")
    return user, datetime.fromisoformat(expiry).timestamp() if expiry else math.inf


def _oidc(provider: Mapping[str, Any], now: float) -> tuple[str, float]:
    """The id-token of the deprecated OIDC provider, and its expiry in Unix seconds.

    It is not renewed: the library would send the client's secret to the issuer without checking the issuer's certificate
    (`OpenIDRequestor`).
    """
    token = str(provider.get("config", {}).get("id-token", ""))
    try:
        payload = token.split(".")[1]
        expiry = float(orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError("auth-provider oidc has no valid id-token; any kubectl command renews it") from error
    if expiry <= now:
        raise ValueError(
            "the id-token of auth-provider oidc has expired; any kubectl command renews it, an exec plugin such as"
            " `kubectl oidc-login` makes it last"
        )
    return token, expiry


def _before(expiry: float, now: float) -> float:
    return expiry - min(_MARGIN_SECONDS, max(0.0, expiry - now) / 2)


def _proxy(server: str) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY), as kubectl uses it: never for this machine. None: no proxy."""
    url = urlsplit(server)
    if is_loopback(url.hostname or "") or urllib.request.proxy_bypass(url.netloc):
        return None
    return urllib.request.getproxies().get(url.scheme)
