"""TLS towards targets: whom a rule trusts, and which certificate it shows."""

import ssl
from collections.abc import Callable
from pathlib import Path

from chaski_core.route.model import AllowRule
from chaski_runtime.watched import Contents, Watched

CERTIFICATE, KEY = "tls.crt", "tls.key"  # keys of a Secret of type kubernetes.io/tls, so names of its files


def trusting(rule: AllowRule) -> ssl.SSLContext | bool:
    """Checks certificates against the rule's own bundle, or the system's. Raises ssl.SSLError for a broken bundle."""
    if rule.ca_bundle is None:
        return True  # the one context that aiohttp shares: loading the system's certificates takes long
    return _context(rule)


class ClientCertificate:
    """A TLS context that shows a certificate from a mounted Secret, and takes up a renewed one.

    Connections made before stay as they are; they are idle for seconds at most.
    """

    def __init__(self, rule: AllowRule, folder: Path, monotonic: Callable[[], float]) -> None:
        """Loads certificate and key.

        Raises:
            OSError: they can't be read, or don't belong together (ssl.SSLError).
            ValueError: one of them is not there.
        """
        self._folder = folder
        self._context = _context(rule)
        self._watched = Watched((folder / CERTIFICATE, folder / KEY), self._load, monotonic)

    def context(self) -> ssl.SSLContext:
        """The context, with the certificate of now."""
        return self._watched.value()

    def _load(self, contents: Contents) -> ssl.SSLContext:
        if None in contents:
            raise ValueError(f"there is no {CERTIFICATE} or no {KEY}")
        files = self._folder / CERTIFICATE, self._folder / KEY
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*files)  # on trial: the one in use must stay whole
        self._context.load_cert_chain(*files)
        return self._context


def _context(rule: AllowRule) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=rule.ca_bundle)  # the system's certificates where there is no bundle
    context.set_alpn_protocols(["http/1.1"])
    return context
