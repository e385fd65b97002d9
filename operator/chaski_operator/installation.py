"""Which installation this is, where nobody has named it: its cluster."""

from chaski_core.errors import ChaskiError
from chaski_runtime.kube.client import KubeApi, KubeApiError, object_path

_NAMESPACE = "kube-system"


class InstallationUnknownError(ChaskiError):
    """Nothing may be made on AWS: it would not be known whose it is."""


async def installation_of(api: KubeApi) -> str:
    """The UID of the Namespace kube-system, by which clusters are told apart: it lives as long as the cluster.

    Raises:
        InstallationUnknownError: it can't be read, and no other name is made up.
    """
    try:
        namespace = await api.get(object_path("v1", "namespaces", None, _NAMESPACE))
    except KubeApiError as error:
        reason = f"the Namespace {_NAMESPACE} can't be read, whose UID names this installation: {error}"
        raise InstallationUnknownError(f"{reason}; allow get on it, or set --installation") from error
    return str(namespace["metadata"]["uid"])
