"""The address and credentials of the Kubernetes API server: a Pod's ServiceAccount, or kubeconfig files."""

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaski_core.errors import ChaskiError
from chaski_runtime.kube.kubeconfig import KubeconfigContext, read_context
from chaski_runtime.process.file_reloader import Reloaded

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


FileStates = tuple[tuple[int, int, int] | None, ...]  # modification (ns), inode, size; None: no such file


class NoKubeAccessError(ChaskiError):
    """Neither a ServiceAccount nor a kubeconfig can be used."""


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """One API server and the credentials for it, as they were read; `ReloadedAccess` follows changes of the files."""

    server: str  # https://host:port, without a slash at the end
    namespace: str  # of the Pod or the context
    token: str | None = None
    token_file: Path | None = None  # read again for each request: a Pod's token is renewed on disk
    ca_pem: str | None = None
    ca_file: Path | None = None
    client_cert_pem: str | None = None
    client_key_pem: str | None = None
    client_cert_file: Path | None = None  # where `client_cert_pem` comes from, if it comes from a file
    client_key_file: Path | None = None
    insecure: bool = False
    context: KubeconfigContext | None = None  # None: a ServiceAccount
    context_name: str | None = None  # of the chosen context; None: the current one
    kubeconfig: tuple[Path, ...] = ()  # the files of the context

    def bearer_token(self) -> str | None:
        """The current token, if tokens are used."""
        return self.token_file.read_text().strip() if self.token_file else self.token

    def file_states(self) -> FileStates:
        """Changes when one of the files was replaced or written that a connection depends on: not a token's."""
        certificates = [self.ca_file, self.client_cert_file, self.client_key_file]
        return tuple(map(_state, (*self.kubeconfig, *(file for file in certificates if file is not None))))

    def read_again(self) -> "KubeAccess":
        """The access by the same files, as they are now.

        Raises:
            NoKubeAccessError: they can't be used.
        """
        return _from_kubeconfig(self.kubeconfig, self.context_name) if self.kubeconfig else replace(self)

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


def kube_access(environment: Mapping[str, str] | None = None, context: str | None = None) -> KubeAccess:
    """Access by the files of `KUBECONFIG` where it is set, else by the Pod's ServiceAccount, else by `~/.kube/config`.

    Args:
        environment: its variables; None: those of the process.
        context: of the kubeconfig; None: its current one. A ServiceAccount is used only without it.

    Raises:
        NoKubeAccessError: none of them exists, or the context can't be used.
    """
    given = os.environ if environment is None else environment
    if given.get("KUBECONFIG"):
        return _from_kubeconfig(
            tuple(Path(each).expanduser() for each in given["KUBECONFIG"].split(os.pathsep) if each), context
        )
    host, port = given.get("KUBERNETES_SERVICE_HOST"), given.get("KUBERNETES_SERVICE_PORT", "443")
    if host and context is None and (_SERVICE_ACCOUNT / "token").exists():
        return KubeAccess(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
            token_file=_SERVICE_ACCOUNT / "token",
            ca_file=_SERVICE_ACCOUNT / "ca.crt",
        )
    usual = Path(given.get("HOME", "/")) / ".kube" / "config"
    if usual.exists():
        return _from_kubeconfig((usual,), context)
    raise NoKubeAccessError(
        f"no Kubernetes API server is configured: KUBECONFIG is not set, {_SERVICE_ACCOUNT} and {usual} do not exist"
    )


class ReloadedAccess(Reloaded[FileStates, KubeAccess]):
    """`current` is the access as its files are now; while these are invalid, as they were last valid.

    A kubelet replaces a Pod's CA, a cluster's tool the files of a kubeconfig, and a client certificate is renewed before it
    expires. Between the writes of a certificate and of its key the two do not match.
    """

    def __init__(self, access: KubeAccess, check: Callable[[KubeAccess], KubeAccess]) -> None:
        """Reads nothing yet.

        Args:
            access: as it was read at the start.
            check: raises NoKubeAccessError for an access that the process can't use.
        """
        self._check = check
        self._latest = access
        first = access.file_states()
        super().__init__(
            _names(access.kubeconfig) or str(access.ca_file or access.server),
            self._states,
            lambda states: access if states == first else self._read_again(),
        )

    def read(self) -> KubeAccess:
        """The access as it is now: the same object as long as nothing has changed."""
        self.refresh()
        return self.current

    def _states(self) -> FileStates:
        return self._latest.file_states()

    def _read_again(self) -> KubeAccess:
        try:
            access = self._check(self._latest.read_again())
        except NoKubeAccessError as error:
            raise ValueError(str(error)) from error
        access.ssl_context()
        self._latest = access
        return access


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


def _from_kubeconfig(paths: tuple[Path, ...], name: str | None = None) -> KubeAccess:
    try:
        context = read_context(paths, name)
        cluster, user = context.cluster, context.user
        access = KubeAccess(
            server=cluster["server"].rstrip("/"),
            namespace=context.namespace,
            token=user.get("token"),
            token_file=Path(user["tokenFile"]) if "tokenFile" in user else None,
            ca_pem=_pem(cluster, "certificate-authority") if "certificate-authority-data" in cluster else None,
            ca_file=_file(cluster, "certificate-authority"),
            client_cert_pem=_pem(user, "client-certificate"),
            client_key_pem=_pem(user, "client-key"),
            client_cert_file=_file(user, "client-certificate"),
            client_key_file=_file(user, "client-key"),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            context=context,
            context_name=name,
            kubeconfig=paths,
        )
        if access.ca_file is not None:
            access.ca_file.stat()  # it must exist
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise NoKubeAccessError(f"{_names(paths)} can't be used: {error}") from error
    return access


def _names(paths: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, paths))


def _file(entry: Mapping[str, Any], key: str) -> Path | None:
    return Path(entry[key]) if key in entry and f"{key}-data" not in entry else None


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _pem(entry: Mapping[str, Any], key: str) -> str | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return Path(entry[key]).read_text() if key in entry else None
