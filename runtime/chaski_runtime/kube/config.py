"""The address and credentials of the Kubernetes API server: a Pod's ServiceAccount, or kubeconfig files."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaski_core.errors import ChaskiError
from chaski_runtime.kube.kubeconfig import KubeconfigContext, read_context

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoKubeAccessError(ChaskiError):
    """Neither a ServiceAccount nor a kubeconfig can be used."""


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """One API server and the credentials for it."""

    server: str  # https://host:port, without a slash at the end
    namespace: str  # of the Pod or the context
    token: str | None = None
    token_file: Path | None = None  # read again for each request: a Pod's token is renewed on disk
    ca_pem: str | None = None
    ca_file: Path | None = None  # read again when it changes: a cluster's CA is renewed on disk too
    client_cert_pem: str | None = None
    client_key_pem: str | None = None
    insecure: bool = False
    context: KubeconfigContext | None = None  # None: a ServiceAccount
    kubeconfig: tuple[Path, ...] = ()  # the files of the context

    def bearer_token(self) -> str | None:
        """The current token, if tokens are used."""
        return self.token_file.read_text().strip() if self.token_file else self.token

    def ca_version(self) -> tuple[int, int, int] | None:
        """Changes when the CA's file was replaced or written; None without a file."""
        if self.ca_file is None:
            return None
        status = self.ca_file.stat()
        return status.st_mtime_ns, status.st_ino, status.st_size

    def ssl_context(self) -> ssl.SSLContext | None:
        """How the server is verified; None for plain HTTP."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file, cadata=self.ca_pem)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert_pem and self.client_key_pem:
            # The ssl module takes files only. This one has mode 0600 and is deleted at once.
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(self.client_cert_pem + "\n" + self.client_key_pem)
                file.flush()
                context.load_cert_chain(file.name)
        return context


def kube_access(environment: Mapping[str, str] | None = None) -> KubeAccess:
    """Access by the files of `KUBECONFIG` where it is set, else by the Pod's ServiceAccount, else by `~/.kube/config`.

    Raises:
        NoKubeAccessError: none of them exists, or its current context can't be used.
    """
    given = os.environ if environment is None else environment
    if given.get("KUBECONFIG"):
        return _from_kubeconfig(
            tuple(Path(each).expanduser() for each in given["KUBECONFIG"].split(os.pathsep) if each)
        )
    host, port = given.get("KUBERNETES_SERVICE_HOST"), given.get("KUBERNETES_SERVICE_PORT", "443")
    if host and (_SERVICE_ACCOUNT / "token").exists():
        return KubeAccess(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
            token_file=_SERVICE_ACCOUNT / "token",
            ca_file=_SERVICE_ACCOUNT / "ca.crt",
        )
    usual = Path(given.get("HOME", "/")) / ".kube" / "config"
    if usual.exists():
        return _from_kubeconfig((usual,))
    raise NoKubeAccessError(
        f"no Kubernetes API server is configured: KUBECONFIG is not set, {_SERVICE_ACCOUNT} and {usual} do not exist"
    )


def plain_access(access: KubeAccess) -> KubeAccess:
    """The access, if it needs no more than a token or a client certificate.

    Raises:
        NoKubeAccessError: it needs the official client, which not every process carries; names the features.
    """
    extensions = access.context.extensions() if access.context else []
    if extensions:
        raise NoKubeAccessError(
            f"{_names(access.kubeconfig)}: {', '.join(extensions)} is not supported by this process, only tokens and"
            " client certificates are; run it in a Pod with a ServiceAccount, or use a kubeconfig with one of these"
        )
    return access


def _from_kubeconfig(paths: tuple[Path, ...]) -> KubeAccess:
    try:
        context = read_context(paths)
        cluster, user = context.cluster, context.user
        ca_data = "certificate-authority-data" in cluster
        access = KubeAccess(
            server=cluster["server"].rstrip("/"),
            namespace=context.namespace,
            token=user.get("token"),
            token_file=Path(user["tokenFile"]) if "tokenFile" in user else None,
            ca_pem=_pem(cluster, "certificate-authority") if ca_data else None,
            ca_file=None
            if ca_data or "certificate-authority" not in cluster
            else Path(cluster["certificate-authority"]),
            client_cert_pem=_pem(user, "client-certificate"),
            client_key_pem=_pem(user, "client-key"),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            context=context,
            kubeconfig=paths,
        )
        access.ca_version()  # the file must exist
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise NoKubeAccessError(f"{_names(paths)} can't be used: {error}") from error
    return access


def _names(paths: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, paths))


def _pem(entry: Mapping[str, Any], key: str) -> str | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return Path(entry[key]).read_text() if key in entry else None
