"""A context of kubeconfig files, by default the current one, chosen and merged as kubectl does: of several files, what is set first counts.

Read here for both transports. The official client's merger takes the current context of the last file instead of the first
(`KubeConfigMerger.load_config`), which may be another cluster than kubectl's, fails for an empty file, and ignores `as`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_PROXY_SCHEMES = ("http", "https")
# What needs the official client, by the entry's key; the rest is plain HTTP with a token or a client certificate.
_EXTENSIONS = ("proxy-url", "tls-server-name", "exec", "auth-provider", "username", "as")
_OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class KubeconfigContext:
    """A context with its cluster and user, as in the files, but with absolute paths and without empty values."""

    namespace: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    def extensions(self) -> list[str]:
        """The features in use that need the official client, by their keys, such as `exec`."""
        return [key for key in _EXTENSIONS if key in self.cluster or key in self.user]

    def impersonation(self) -> list[tuple[str, str]]:
        """The headers of `as`, `as-uid`, `as-groups` and `as-user-extra`; a name may repeat."""
        if "as" not in self.user:
            return []
        headers = [("Impersonate-User", str(self.user["as"]))]
        if "as-uid" in self.user:
            headers.append(("Impersonate-Uid", str(self.user["as-uid"])))
        headers += [("Impersonate-Group", str(group)) for group in self.user.get("as-groups", ())]
        for key, values in self.user.get("as-user-extra", {}).items():
            headers += [(f"Impersonate-Extra-{quote(key.lower(), safe='')}", str(value)) for value in values]
        return headers


def read_context(files: Sequence[Path], wanted: str | None = None) -> KubeconfigContext:
    """A context of these files, by its name or the current one; files that do not exist are skipped.

    Raises:
        ValueError: no file exists, one is invalid, or the context needs something that is not supported; says what to do.
        OSError: a file can't be read.
    """
    read = [(file, _document(file)) for file in files if file.exists()]
    if not read:
        raise ValueError("no such file")
    name = wanted or next((given["current-context"] for _, given in read if given.get("current-context")), None)
    if name is None:
        raise ValueError("current-context is not set; choose one with `kubectl config use-context NAME`")
    context = _named(read, "context", name)
    cluster = _named(read, "cluster", context.get("cluster"))
    user = _named(read, "user", context["user"]) if "user" in context else {}
    _check(cluster, user)
    return KubeconfigContext(str(context.get("namespace", "default")), cluster, user)


def _document(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(document, dict | None):
        raise ValueError(f"{file} is not a kubeconfig")  # noqa: TRY004 - one kind for its callers
    return document or {}


def _named(read: Sequence[tuple[Path, Mapping[str, Any]]], kind: str, name: Any) -> dict[str, Any]:
    """The first entry of a kind (`clusters: [{name: NAME, cluster: {...}}]`) with this name."""
    for file, document in read:
        for each in document.get(f"{kind}s") or ():
            if isinstance(each, dict) and each.get("name") == name:
                return dict(_absolute(file.parent.absolute(), each.get(kind) or {}))
    raise ValueError(f'{kind}s has no entry "{name}"')


def _absolute(folder: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in entry.items():
        if value is None or value in ("", []):
            continue
        if key in _FILES:
            yield key, str(folder / value)
        elif key == "exec" and "/" in str(value.get("command", "")):  # a bare name is searched in PATH
            yield key, value | {"command": str(folder / value["command"])}
        else:
            yield key, value


def _check(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    if "server" not in cluster:
        raise ValueError("the cluster has no server")
    scheme = urlsplit(cluster.get("proxy-url", "http://")).scheme
    if scheme not in _PROXY_SCHEMES:
        raise ValueError(f"proxy-url: a proxy by {scheme} is not supported; use an http or https proxy")
    if "exec" in user and not {"command", "apiVersion"} <= set(user["exec"]):
        raise ValueError("exec needs command and apiVersion")
    provider = user.get("auth-provider", {}).get("name", _OIDC)
    if provider != _OIDC:
        raise ValueError(
            f"auth-provider {provider} is not supported, nor by kubectl since 1.26; use the provider's exec plugin, such as"
            " gke-gcloud-auth-plugin or kubelogin"
        )
    if "as" not in user and {"as-uid", "as-groups", "as-user-extra"} & set(user):
        raise ValueError("as-uid, as-groups and as-user-extra need `as`")
