"""Where the address and the credentials of the API server come from."""

from pathlib import Path

import pytest

from chaski_runtime.kube.config import NoKubeAccessError, kube_access, plain_access

KUBECONFIG = """
current-context: here
contexts: [{name: here, context: {cluster: c, user: u, namespace: n}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1/"}}]
users: [{name: u, user: %s}]
"""


def test_a_kubeconfig_is_read(tmp_path: Path) -> None:
    """Server, namespace and a token beside the file."""
    (tmp_path / "config").write_text(KUBECONFIG % "{tokenFile: token}")
    (tmp_path / "token").write_text("secret\n")
    access = kube_access({"KUBECONFIG": str(tmp_path / "config")})
    assert (access.server, access.namespace, access.bearer_token()) == ("http://127.0.0.1:1", "n", "secret")


@pytest.mark.parametrize("text", [KUBECONFIG % "{exec: {}}", "contexts: []", "{"], ids=["plugin", "empty", "not YAML"])
def test_a_kubeconfig_that_can_not_be_used_is_an_error(tmp_path: Path, text: str) -> None:
    """The error names the file."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(NoKubeAccessError, match="config"):
        kube_access({"KUBECONFIG": str(tmp_path / "config")})


@pytest.mark.parametrize("missing", ["certificate-authority: absent", "certificate-authority-data: x"])
def test_a_certificate_that_can_not_be_read_is_an_error(tmp_path: Path, missing: str) -> None:
    """At the start, not at the first request."""
    text = KUBECONFIG % "{}"
    (tmp_path / "config").write_text(text.replace("server:", missing + ", server:"))
    with pytest.raises(NoKubeAccessError, match="config can't be used"):
        kube_access({"KUBECONFIG": str(tmp_path / "config")})


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ("{exec: {command: aws, apiVersion: v1}}", "exec"),
        ("{auth-provider: {name: oidc}}", "auth-provider"),
        ("{as: bob}", "as"),
        ("{username: u, password: p}", "username"),
    ],
)
def test_a_process_without_the_official_client_refuses_what_it_would_ignore(
    tmp_path: Path, user: str, named: str
) -> None:
    """By name: a user that is not impersonated has other rights than meant."""
    (tmp_path / "config").write_text(KUBECONFIG % user)
    access = kube_access({"KUBECONFIG": str(tmp_path / "config")})
    with pytest.raises(NoKubeAccessError, match=rf"config: {named} is not supported by this process, only tokens"):
        plain_access(access)


@pytest.mark.parametrize("named", ["proxy-url: 'http://p'", "tls-server-name: s"])
def test_it_refuses_proxies_and_names_too(tmp_path: Path, named: str) -> None:
    """They belong to the cluster."""
    (tmp_path / "config").write_text((KUBECONFIG % "{token: t}").replace("server:", named + ", server:"))
    access = kube_access({"KUBECONFIG": str(tmp_path / "config")})
    with pytest.raises(NoKubeAccessError, match=named.partition(":")[0]):
        plain_access(access)


def test_without_any_configuration_the_error_names_the_possible_ones(tmp_path: Path) -> None:
    """Neither in a Pod nor with a kubeconfig."""
    with pytest.raises(NoKubeAccessError, match="KUBECONFIG"):
        kube_access({"HOME": str(tmp_path)})
