"""Certificates, keys and kubeconfigs of a Kubernetes API server for tests."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_ADDRESSES = ("127.0.0.1", "10.96.0.1")
_VALID = dt.timedelta(days=2)


def make_all(folder: Path, server: str, authority: str = "chaski-tests") -> None:
    """A CA, the server's certificate, the key that signs ServiceAccount tokens, and the admin's kubeconfig."""
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(folder / "ca.key")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority)])
    use = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = _draft(name, name, key, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    _write(folder / "ca.crt", made.add_extension(use, critical=True).sign(key, hashes.SHA256()))
    addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in _ADDRESSES]
    _issue(folder, "apiserver", "kube-apiserver", (), [*(x509.DNSName(each) for each in _NAMES), *addresses])
    signer = _key(folder / "sa.key")
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "sa.pub").write_bytes(signer.public_key().public_bytes(serialization.Encoding.PEM, public))
    user_kubeconfig(folder, server, "admin", ["system:masters"])


def user_kubeconfig(folder: Path, server: str, user: str, groups: Sequence[str] = ()) -> Path:
    """A kubeconfig with a client certificate of a user and its groups."""
    name = user.replace(":", "_")  # which separates the files in KUBECONFIG
    _issue(folder, name, user, groups, [])
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": str(folder / "ca.crt")}}],
        "users": [
            {
                "name": "u",
                "user": {
                    "client-certificate": str(folder / f"{name}.crt"),
                    "client-key": str(folder / f"{name}.key"),
                },
            }
        ],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = folder / f"{name}.kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


def server_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for one DNS name by the folder's CA, and its key."""
    _issue(folder, name, name, (), [x509.DNSName(name)])
    return folder / f"{name}.crt", folder / f"{name}.key"


def _issue(folder: Path, file: str, user: str, groups: Sequence[str], names: Sequence[x509.GeneralName]) -> None:
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    made = _draft(subject, authority.subject, _key(folder / f"{file}.key"), signer)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    _write(folder / f"{file}.crt", made.sign(signer, hashes.SHA256()))


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + _VALID)
    # Both identifiers are required of authorities (RFC 5280 §4.2.1.1, §4.2.1.2); Python verifies this from 3.13 on.
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return made.add_extension(by, critical=False)


def _key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.TraditionalOpenSSL
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return key


def _write(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
