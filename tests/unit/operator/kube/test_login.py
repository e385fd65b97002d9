"""Kopf logs in with the credentials of the operator's own requests."""

import datetime as dt
from pathlib import Path

import pytest

from chaski_operator.kube.login import checked_access, connection_info
from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError
from support.kube.certificates import make_all
from support.kube.fake_server import exec_plugin, kubeconfig

SERVER = "https://api.example"


async def test_a_pods_token_is_read_again_after_ten_minutes(tmp_path: Path) -> None:
    """It is renewed on disk. Its CA is too: when that changes, the watch begins again."""
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "ca.crt").write_text("any")
    access = KubeAccess(SERVER, "chaski", token_file=tmp_path / "token", ca_file=tmp_path / "ca.crt")
    info = await connection_info(access)
    assert (info.server, info.scheme, info.token, info.default_namespace) == (SERVER, "Bearer", "secret", "chaski")
    assert (info.ca_path, info.insecure) == (str(tmp_path / "ca.crt"), False)
    assert info.expiration is not None
    assert 590 < (info.expiration - dt.datetime.now(dt.UTC)).total_seconds() < 601


async def test_a_plugins_token_has_its_own_expiry(tmp_path: Path) -> None:
    """Kopf then runs the plugin again."""
    expiry = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=300)).strftime("%Y-%m-%dT%H:%M:%SZ")
    plugin = exec_plugin(tmp_path, {"token": "secret", "expirationTimestamp": expiry})
    info = await connection_info(kubeconfig(tmp_path, SERVER, {"exec": plugin}, **{"proxy-url": "http://proxy:1"}))
    assert (info.token, info.proxy_url) == ("secret", "http://proxy:1")
    assert info.expiration is not None
    assert 230 < (info.expiration - dt.datetime.now(dt.UTC)).total_seconds() < 241


async def test_a_client_certificate_needs_no_token(tmp_path: Path) -> None:
    """And does not expire."""
    make_all(tmp_path, SERVER)
    user = {"client-certificate": "admin.crt", "client-key": "admin.key"}
    info = await connection_info(kubeconfig(tmp_path, SERVER, user))
    assert (info.certificate_path, info.private_key_path) == (str(tmp_path / "admin.crt"), str(tmp_path / "admin.key"))
    assert (info.token, info.expiration) == (None, None)


@pytest.mark.parametrize(
    ("user", "cluster", "named"), [({"as": "bob"}, {}, "as"), ({}, {"tls-server-name": "s"}, "tls-server-name")]
)
def test_what_kopf_would_ignore_is_refused(
    tmp_path: Path, user: dict[str, object], cluster: dict[str, str], named: str
) -> None:
    """By name, at the start."""
    with pytest.raises(NoKubeAccessError, match=f"^{named} of the kubeconfig is not supported by the operator"):
        checked_access(kubeconfig(tmp_path, SERVER, user, **cluster))
