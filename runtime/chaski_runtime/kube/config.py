"""The address and credentials of the Kubernetes API server: a Pod's ServiceAccount, or a kubeconfig file."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chaski_core.errors import ChaskiError

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
    client_cert_pem: str | None = None
    client_key_pem: str | None = None
    insecure: bool = False

    def bearer_token(self) -> str | None:
        """The current token, if tokens are used."""
        return self.token_file.read_text().strip() if self.token_file else self.token

    def ssl_context(self) -> ssl.SSLContext | None:
        """How the server is verified; None for plain HTTP."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.create_default_context(cadata=self.ca_pem)
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
    """Access by `KUBECONFIG` where it is set, else by the Pod's ServiceAccount, else by `~/.kube/config`.

    Raises:
        NoKubeAccessError: none of them exists, or it uses an exec plugin, which is not supported.
    """
    given = os.environ if environment is None else environment
    if given.get("KUBECONFIG"):
        return _from_kubeconfig(Path(given["KUBECONFIG"].split(os.pathsep)[0]))
    host, port = given.get("KUBERNETES_SERVICE_HOST"), given.get("KUBERNETES_SERVICE_PORT", "443")
    if host and (_SERVICE_ACCOUNT / "token").exists():
        return KubeAccess(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
            token_file=_SERVICE_ACCOUNT / "token",
            ca_pem=(_SERVICE_ACCOUNT / "ca.crt").read_text(),
        )
    usual = Path(given.get("HOME", "/")) / ".kube" / "config"
    if usual.exists():
        return _from_kubeconfig(usual)
    raise NoKubeAccessError(
        f"no Kubernetes API server is configured: KUBECONFIG is not set, {_SERVICE_ACCOUNT} and {usual} do not exist"
    )


def _from_kubeconfig(path: Path) -> KubeAccess:
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"]
        if "exec" in user or "auth-provider" in user:
            raise NoKubeAccessError(f"{path}: credential plugins (exec, auth-provider) are not supported; use a token")
        token_file = user.get("tokenFile")
        return KubeAccess(
            server=cluster["server"].rstrip("/"),
            namespace=context.get("namespace", "default"),
            token=user.get("token"),
            token_file=path.parent / token_file if token_file else None,
            ca_pem=_pem(path, cluster, "certificate-authority"),
            client_cert_pem=_pem(path, user, "client-certificate"),
            client_key_pem=_pem(path, user, "client-key"),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise NoKubeAccessError(f"{path} can't be used: {error}") from error


def _named(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for each in config.get(kind) or ():
        if each["name"] == name:
            found: Mapping[str, Any] = each
            return found
    raise ValueError(f'{kind} has no entry "{name}"')


def _pem(path: Path, entry: Mapping[str, Any], key: str) -> str | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return (path.parent / entry[key]).read_text() if key in entry else None
