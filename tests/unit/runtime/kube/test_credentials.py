"""The official client's configuration: plugins, identity tokens, client certificates and proxies of a kubeconfig."""

import base64
import math
import time
from pathlib import Path

import orjson
import pytest

from chaski_runtime.kube.client import KubeUnavailableError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.credentials import load
from support.kube.certificates import make_all
from support.kube.fake_server import exec_plugin, kubeconfig

SERVER = "https://api.example"
NOW = 1_800_000_000.0


async def test_a_plugin_gives_a_token_and_its_expiry(tmp_path: Path) -> None:
    """As `aws eks get-token` does; it is loaded again a minute before."""
    status = {"token": "secret\n", "expirationTimestamp": "2027-01-15T09:00:00Z"}
    loaded = await load(kubeconfig(tmp_path, SERVER, {"exec": exec_plugin(tmp_path, status)}), NOW)
    assert loaded.configuration.api_key == {"BearerToken": "Bearer secret"}
    assert (loaded.configuration.host, loaded.refresh_at, loaded.renewable) == (SERVER, NOW + 3600 - 60, True)


@pytest.mark.parametrize(("lifetime", "refreshed"), [(100.0, 50.0), (0.0, 0.0), (-5.0, -5.0)])
async def test_a_short_life_is_used_for_its_half(tmp_path: Path, lifetime: float, refreshed: float) -> None:
    """So that each request does not run the plugin; what has expired already is loaded again at once."""
    expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + lifetime))
    status = {"token": "secret", "expirationTimestamp": expiry}
    loaded = await load(kubeconfig(tmp_path, SERVER, {"exec": exec_plugin(tmp_path, status)}), NOW)
    assert loaded.refresh_at == NOW + refreshed


async def test_a_plugin_may_give_a_client_certificate(tmp_path: Path) -> None:
    """In place of a token."""
    make_all(tmp_path / "pki", SERVER)
    certificate, key = ((tmp_path / "pki" / f"admin.{kind}").read_text() for kind in ("crt", "key"))
    status = {"clientCertificateData": certificate, "clientKeyData": key}
    loaded = await load(kubeconfig(tmp_path, SERVER, {"exec": exec_plugin(tmp_path, status)}), NOW)
    files = loaded.configuration.cert_file, loaded.configuration.key_file
    assert [Path(each).read_text() for each in files] == [certificate, key]  # noqa: ASYNC240 - small local files
    assert (loaded.configuration.api_key, loaded.refresh_at) == ({}, math.inf)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ({"token": "t"}, 1, r"plugin get-token` failed.*plugin: not logged in.*\(see example.com\)"),
        ({}, 0, "neither a token nor a client certificate"),
        (None, 0, "can't be loaded"),
        ({"token": "t", "expirationTimestamp": "soon"}, 0, "soon"),
    ],
)
async def test_a_plugin_that_fails_says_why(
    tmp_path: Path, status: dict[str, object] | None, code: int, reason: str
) -> None:
    """The request is not sent without credentials; it may be tried again."""
    access = kubeconfig(tmp_path, SERVER, {"exec": exec_plugin(tmp_path, status, code)})
    with pytest.raises(KubeUnavailableError, match=reason):
        await load(access, NOW)


async def test_a_plugin_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """With the hint of its kubeconfig."""
    plugin = exec_plugin(tmp_path, {}) | {"command": "chaski-no-such-plugin"}
    with pytest.raises(KubeUnavailableError, match=r"chaski-no-such-plugin get-token` failed.*see example.com"):
        await load(kubeconfig(tmp_path, SERVER, {"exec": plugin}), NOW)


def id_token(expiry: float) -> dict[str, object]:
    """A user with an OIDC token."""
    payload = base64.urlsafe_b64encode(orjson.dumps({"exp": expiry})).decode().rstrip("=")
    return {"auth-provider": {"name": "oidc", "config": {"id-token": f"x.{payload}.y"}}}


async def test_an_identity_token_is_used_until_it_expires(tmp_path: Path) -> None:
    """Then the file is read again, in which kubectl renews it."""
    access = kubeconfig(tmp_path, SERVER, id_token(NOW + 3600))
    loaded = await load(access, NOW)
    assert loaded.configuration.api_key["BearerToken"].startswith("Bearer x.")
    assert loaded.refresh_at == NOW + 3540
    with pytest.raises(KubeUnavailableError, match="expired; any kubectl command renews it"):
        await load(access, NOW + 3600)
    kubeconfig(tmp_path, SERVER, id_token(NOW + 7200))
    assert (await load(access.read_again(), NOW + 3600)).refresh_at == NOW + 7140


async def test_an_identity_provider_without_a_token_is_refused(tmp_path: Path) -> None:
    """The refresh token is not used: the library would not check the issuer's certificate."""
    user = {"auth-provider": {"name": "oidc", "config": {"refresh-token": "r", "idp-issuer-url": "https://i"}}}
    with pytest.raises(KubeUnavailableError, match="no valid id-token"):
        await load(kubeconfig(tmp_path, SERVER, user), NOW)


async def test_password_and_certificates_are_loaded(tmp_path: Path) -> None:
    """What kubectl takes from the same entries."""
    make_all(tmp_path / "pki", SERVER)
    files = {"client-certificate": "pki/admin.crt", "client-key": "pki/admin.key"}
    access = kubeconfig(tmp_path, SERVER, files, **{"certificate-authority": "pki/ca.crt"})
    configuration = (await load(access, NOW)).configuration
    assert (configuration.cert_file, configuration.ssl_ca_cert) == (
        str(tmp_path / "pki/admin.crt"),
        str(tmp_path / "pki/ca.crt"),
    )
    access = kubeconfig(tmp_path, SERVER, {"username": "u", "password": "p"}, **{"insecure-skip-tls-verify": "true"})
    configuration = (await load(access, NOW)).configuration
    assert configuration.api_key["BearerToken"] == f"Basic {base64.b64encode(b'u:p').decode()}"
    assert not configuration.verify_ssl


@pytest.mark.parametrize(
    ("server", "cluster", "wanted"),
    [
        ("https://api.example", {}, "http://proxy:3128"),
        ("https://api.example", {"proxy-url": "http://other:1"}, "http://other:1"),
        ("https://api.internal", {}, None),
        ("https://127.0.0.1:6443", {}, None),
        ("https://localhost", {}, None),
    ],
)
async def test_the_environment_names_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, cluster: dict[str, str], wanted: str | None
) -> None:
    """As for kubectl; never for a cluster on this machine."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", ".internal")
    assert (await load(kubeconfig(tmp_path, server, {}, **cluster), NOW)).configuration.proxy == wanted


async def test_a_pod_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set for AWS; the API server is beside the Pod."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert (await load(KubeAccess("https://10.96.0.1", "default", token="t"), NOW)).configuration.proxy is None
