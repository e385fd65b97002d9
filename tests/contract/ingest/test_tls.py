"""HTTPS, and the flags of the command."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from chaski_ingest.__main__ import main
from chaski_ingest.http.server import IngestServer, ServerCertificate
from support.resolved import resolved_text
from unit.ingest.fakes import FakeBackend, make_ingest


def _make(folder: Path, name: str) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "the openssl command is needed to make certificates"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += [
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
        "-keyout",
        str(folder / "tls.key"),
        "-out",
        str(folder / "tls.crt"),
    ]
    subprocess.run(command, check=True, capture_output=True)


async def _name_shown(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert isinstance(shown, bytes)
    return shown


async def test_a_renewed_certificate_is_used_for_new_connections(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a restart; a half-written one is ignored, and an error is logged."""
    _make(tmp_path, "first")
    certificate = ServerCertificate(tmp_path / "tls.crt", tmp_path / "tls.key", lambda: 0.0)
    server = IngestServer(make_ingest(FakeBackend()))
    port = await server.start("127.0.0.1", 0, certificate.context)
    try:
        assert b"first" in await _name_shown(port)
        (tmp_path / "tls.key").write_text("half")
        certificate.refresh()
        assert b"first" in await _name_shown(port)
        assert "could not use the new contents" in caplog.text
        _make(tmp_path, "second")
        certificate.refresh()
        assert b"second" in await _name_shown(port)
    finally:
        await server.drain()


async def test_plain_http_on_the_tls_port_gets_no_response(tmp_path: Path) -> None:
    """An unencrypted request is not read."""
    _make(tmp_path, "only")
    server = IngestServer(make_ingest(FakeBackend()))
    certificate = ServerCertificate(tmp_path / "tls.crt", tmp_path / "tls.key", lambda: 0.0)
    port = await server.start("127.0.0.1", 0, certificate.context)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):  # the connection was reset, which is as good
            answer = await reader.read()
        writer.close()
        assert not answer.startswith(b"HTTP")
    finally:
        await server.drain()


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--tls-cert", "absent.crt", "--tls-key", "absent.key"], "does not exist"),
        (["--auth", "kubernetes"], "no Kubernetes API server is configured"),
    ],
    ids=["no certificate", "no API server"],
)
def test_an_unusable_option_stops_the_command_before_it_listens(
    tmp_path: Path,
    flags: list[str],
    part: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, and which flag it was."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.yaml").write_text(resolved_text("a"))
    assert main(["--routes", str(tmp_path / "a.yaml"), *flags]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert flags[0] in error


def test_a_certificate_needs_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    assert main(["--routes", str(tmp_path), "--tls-cert", "a.crt"]) == 2
    assert "--tls-cert and --tls-key" in capsys.readouterr().err
