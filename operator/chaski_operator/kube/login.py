"""Kopf's login, with the same credentials as the operator's own requests: kopf has connections of its own.

Kopf logs in again when the credentials expire and after a 401, and never because of a certificate: it would connect with the
old CA and client certificate for as long as it runs. So `kopf_watch` ends a watch when their files change. A token expires
here long before it does in truth; then kopf goes on, with the new one, where its watches were.
"""

import math
import time
from datetime import UTC, datetime

import kopf

from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError
from chaski_runtime.kube.credentials import load

_RENEWAL_SECONDS = (
    600.0  # a Pod's token is renewed on disk at least 12 minutes before it expires; read again this often
)
_UNSUPPORTED = ("tls-server-name", "as")  # kopf's ConnectionInfo has no place for them


def checked_access(access: KubeAccess) -> KubeAccess:
    """The access, if kopf can use it too.

    Raises:
        NoKubeAccessError: its kubeconfig needs what kopf does not support; names it.
    """
    found = [each for each in (access.context.extensions() if access.context else ()) if each in _UNSUPPORTED]
    if found:
        raise NoKubeAccessError(
            f"{', '.join(found)} of the kubeconfig is not supported by the operator, whose watches (kopf) ignore it; use a"
            " context without it, with credentials of the operator's own"
        )
    return access


async def connection_info(access: KubeAccess) -> kopf.ConnectionInfo:
    """The credentials that are valid now; kopf asks again when they expire, and after a 401.

    Raises:
        KubeUnavailableError: they can't be loaded at the moment.
    """
    loaded = await load(access, time.time())
    given = loaded.configuration
    scheme, _, token = (await given.get_api_key_with_prefix("BearerToken") or "").partition(" ")
    renewed = time.time() + _RENEWAL_SECONDS if access.token_file else math.inf
    expiry = min(loaded.refresh_at, renewed)
    return kopf.ConnectionInfo(
        server=given.host,
        ca_path=given.ssl_ca_cert,
        ca_data=given.ca_cert_data,
        insecure=not given.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=given.cert_file,
        private_key_path=given.key_file,
        default_namespace=access.namespace,
        proxy_url=given.proxy,
        expiration=None if expiry == math.inf else datetime.fromtimestamp(expiry, UTC),
    )
