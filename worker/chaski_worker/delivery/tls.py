"""TLS towards targets: whom a rule trusts, and which certificate it shows.

A bundle or a certificate that can't be used is no failure of the target: the rule's messages wait (`Sessions.of`).
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from chaski_core.route.model import AllowRule
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_worker.shortage.classify import Shortage, ShortageReason, shortage_in

CERTIFICATE, KEY = "tls.crt", "tls.key"  # keys of a Secret of type kubernetes.io/tls, so names of its files


def trusting(rule: AllowRule) -> ssl.SSLContext | bool:
    """Checks certificates against the rule's own bundle, or the system's.

    Raises:
        OSError: the bundle is broken (ssl.SSLError), or the system's can't be read.
        ValueError: the bundle holds no certificates in PEM.
    """
    if rule.ca_bundle is None:
        return True  # the one context that aiohttp shares: loading the system's certificates takes long
    return _context(rule)


def unusable(rule: AllowRule, error: Exception) -> Shortage:
    """Why nothing can be sent under a rule, after its TLS could not be set up."""
    if (shortage := shortage_in(error)) is not None:  # no descriptor to open its files with
        return shortage
    what = "caBundle" if rule.client_cert_secret_name is None else "client certificate, or the caBundle,"
    words = f'the {what} of targets.allow "{rule.name}" can\'t be used: {error}'
    return Shortage(ShortageReason.CERTIFICATE, words, rule.name)


class ClientCertificate:
    """A TLS context that shows a certificate from a mounted Secret, and takes up a renewed one.

    Connections made before stay as they are; they live for a minute at most.
    """

    def __init__(self, rule: AllowRule, folder: Path, monotonic: Callable[[], float]) -> None:
        """Reads nothing yet."""
        self._rule = rule
        self._folder = folder
        self._monotonic = monotonic
        self._trusted: ssl.SSLContext | None = None
        self._watched: ReloadedFiles[ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """The context, with the certificate of now; where a renewed one can't be used, with the one before.

        Raises:
            OSError: certificate and key can't be read, or don't belong together (ssl.SSLError).
            ValueError: one of them is not there.
        """
        if self._watched is None:
            files = (self._folder / CERTIFICATE, self._folder / KEY)
            self._watched = ReloadedFiles(files, self._load, self._monotonic)
        return self._watched.value()

    def _load(self, contents: Contents) -> ssl.SSLContext:
        if None in contents:
            raise ValueError(f"there is no {CERTIFICATE} or no {KEY} in {self._folder}")
        files = self._folder / CERTIFICATE, self._folder / KEY
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*files)  # on trial: the one in use must stay whole
        if self._trusted is None:
            self._trusted = _context(self._rule)
        self._trusted.load_cert_chain(*files)
        return self._trusted


def _context(rule: AllowRule) -> ssl.SSLContext:
    if rule.ca_bundle is not None and not rule.ca_bundle.isascii():
        raise ValueError("it is no PEM: there are other characters than ASCII in it")
    context = ssl.create_default_context(cadata=rule.ca_bundle) if rule.ca_bundle is not None else _system_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _system_context() -> ssl.SSLContext:
    # Named, because a default file that can't be opened is passed over without an error.
    paths = ssl.get_default_verify_paths()
    return ssl.create_default_context(cafile=paths.cafile, capath=paths.capath)
