"""The default name of an installation: the identity of its cluster."""

from chaski_core.errors import ChaskiError
from chaski_runtime.kube.client import KubeApi, KubeApiError, object_path

_NAMESPACE = "kube-system"


class InstallationUnknownError(ChaskiError):
    """The installation is unknown, so nothing may be created on AWS: its owner could not be tagged."""


async def installation_of(api: KubeApi) -> str:
    """The UID of the Namespace kube-system, which identifies a cluster for its whole life.

    Raises:
        InstallationUnknownError: the Namespace can't be read. No other name is substituted.
    """
    try:
        namespace = await api.get(object_path("v1", "namespaces", None, _NAMESPACE))
    except KubeApiError as error:
        reason = f"can't read the Namespace {_NAMESPACE}, whose UID is the installation's default name: {error}"
        raise InstallationUnknownError(f"{reason}; allow get on it, or set --installation") from error
    return str(namespace["metadata"]["uid"])
