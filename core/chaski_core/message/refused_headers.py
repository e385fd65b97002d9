"""The headers that a message may not set, with the reason and the source of each: `docs/http-api.md` has the same table.

Refused are headers by which a producer could change the destination, the method, the end or the apparent sender of a
request, and those that Chaski writes itself. Names are compared in lower case with `_` as `-`: a CGI or WSGI server gives an
application one variable for both (RFC 3875 §4.1.18), so another spelling would pass as the header that is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TARGET = "it sets the destination of the request, which the URL does"
_METHOD = "it sets the method of the request, which body.method does"
_FRAMING = "it sets the end of the request, which the content does"
_HOP = "it is hop-by-hop, not for the target"
_SENDER = "it names the sender, which only a proxy may"
_IDENTITY = "it names an authenticated user or certificate, which only a proxy may"
_METADATA = "it gives access to cloud metadata services"
_OWN = "Chaski writes it itself"
_SESSION = "requests have no session"


@dataclass(frozen=True, slots=True)
class RefusedHeaders:
    """Headers that are refused for one reason."""

    names: tuple[str, ...]  # in lower case; one that ends with `*` is a prefix
    reason: str
    source: str  # where their effect is described


TABLE: tuple[RefusedHeaders, ...] = (
    RefusedHeaders(("host",), _TARGET, "RFC 9110 §7.2"),
    RefusedHeaders(("x-host", "x-http-host-override"), _TARGET, "PortSwigger, HTTP Host header attacks"),
    RefusedHeaders(("x-original-host",), _TARGET, "Azure Application Gateway, request headers"),
    RefusedHeaders(("x-original-url", "x-rewrite-url"), _TARGET, "CVE-2018-14773 (Symfony, IIS URL Rewrite)"),
    RefusedHeaders(("x-original-uri", "x-original-method"), _TARGET, "ingress-nginx, external authentication"),
    RefusedHeaders(("x-envoy-*",), _TARGET, "Envoy, HTTP header manipulation and router filter"),
    RefusedHeaders(("l5d-*",), _TARGET, "Linkerd, l5d-dst-override"),
    RefusedHeaders(("x-middleware-subrequest*",), _TARGET, "CVE-2025-29927 (Next.js)"),
    RefusedHeaders(("x-accel-*", "x-sendfile-type"), _TARGET, "CVE-2025-61780 (Rack::Sendfile)"),
    RefusedHeaders(
        ("x-http-method", "x-http-method-override", "x-method-override"), _METHOD, "Express, method-override"
    ),
    RefusedHeaders(("content-length", "transfer-encoding", "trailer"), _FRAMING, "RFC 9112 §6, §7.1.2"),
    RefusedHeaders(("expect",), _FRAMING, "RFC 9110 §10.1.1"),
    RefusedHeaders(("te", "connection", "keep-alive", "upgrade"), _HOP, "RFC 9110 §7.6.1"),
    RefusedHeaders(("http2-settings",), _HOP, "RFC 7540 §3.2.1"),
    RefusedHeaders(("proxy-*",), _HOP, "RFC 9110 §11.7"),
    RefusedHeaders(("proxy",), _HOP, "CVE-2016-5385 (httpoxy)"),
    RefusedHeaders(("forwarded",), _SENDER, "RFC 7239"),
    RefusedHeaders(("via",), _SENDER, "RFC 9110 §7.6.3"),
    RefusedHeaders(("x-forwarded", "x-forwarded-*", "x-original-forwarded-for"), _SENDER, "RFC 7239 §1, ingress-nginx"),
    RefusedHeaders(("x-real-ip",), _SENDER, "nginx, ngx_http_realip_module"),
    RefusedHeaders(
        ("client-ip", "x-client-ip", "x-cluster-client-ip", "x-originating-ip", "x-proxyuser-ip", "wl-proxy-client-ip"),
        _SENDER,
        "npm request-ip, WebLogic Server plug-ins",
    ),
    RefusedHeaders(
        ("true-client-ip", "cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-ipcountry", "cf-visitor"),
        _SENDER,
        "Cloudflare, HTTP headers",
    ),
    RefusedHeaders(("fastly-client-ip",), _SENDER, "Fastly, HTTP headers"),
    RefusedHeaders(("x-azure-clientip", "x-azure-socketip"), _SENDER, "Azure CDN, HTTP headers"),
    RefusedHeaders(("x-appengine-*",), _SENDER, "Google App Engine, request headers"),
    RefusedHeaders(
        ("do-connecting-ip", "fly-client-ip", "x-nf-client-connection-ip", "x-vercel-forwarded-for"),
        _SENDER,
        "DigitalOcean, Fly.io, Netlify and Vercel, request headers",
    ),
    RefusedHeaders(("front-end-https", "x-url-scheme"), _SENDER, "Microsoft Front-End-Https, Plack"),
    RefusedHeaders(("remote-user", "x-remote-*"), _IDENTITY, "Kubernetes, authenticating proxy"),
    RefusedHeaders(("x-auth-request-*",), _IDENTITY, "oauth2-proxy"),
    RefusedHeaders(("x-webauth-*",), _IDENTITY, "Grafana, auth proxy"),
    RefusedHeaders(("tailscale-user-*",), _IDENTITY, "Tailscale Serve, identity headers"),
    RefusedHeaders(("x-amzn-oidc-*",), _IDENTITY, "AWS Application Load Balancer, authenticate users"),
    RefusedHeaders(("x-goog-iap-*", "x-goog-authenticated-user-*"), _IDENTITY, "Google Identity-Aware Proxy"),
    RefusedHeaders(("x-ms-client-principal*",), _IDENTITY, "Azure App Service, user identities"),
    RefusedHeaders(("client-cert", "client-cert-chain"), _IDENTITY, "RFC 9440"),
    RefusedHeaders(("ssl-client-*", "x-ssl-client-*"), _IDENTITY, "ingress-nginx, client certificates; Keycloak"),
    RefusedHeaders(("metadata",), _METADATA, "Azure Instance Metadata Service"),
    RefusedHeaders(("metadata-flavor", "x-google-metadata-request"), _METADATA, "Google Compute Engine metadata"),
    RefusedHeaders(("x-aws-ec2-metadata-token*",), _METADATA, "AWS, IMDSv2"),
    RefusedHeaders(("x-identity-header",), _METADATA, "Azure App Service, managed identities"),
    RefusedHeaders(("accept-encoding", "chaski-*"), _OWN, "Chaski"),
    RefusedHeaders(("webhook-*",), _OWN, "Standard Webhooks 1.0.0"),
    RefusedHeaders(("cookie",), _SESSION, "RFC 6265 §4.2"),
)


def _by_name(rows: Iterable[RefusedHeaders]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The reasons by exact name, and by prefix."""
    pairs = [(name, row.reason) for row in rows for name in row.names]
    return (
        {name: reason for name, reason in pairs if not name.endswith("*")},
        {name[:-1]: reason for name, reason in pairs if name.endswith("*")},
    )


_EXACT, _PREFIXES = _by_name(TABLE)
_STARTS = tuple(_PREFIXES)


def normalized(name: str) -> str:
    """A header's name as an application may see it: in lower case, with `_` as `-`."""
    return name.lower().replace("_", "-")


def refusal_reason(name: str) -> str | None:
    """Why a message may not set a header; None if it may."""
    plain = normalized(name)
    reason = _EXACT.get(plain)
    if reason is None and plain.startswith(_STARTS):
        reason = next(reason for start, reason in _PREFIXES.items() if plain.startswith(start))
    return reason


def table_lines() -> list[str]:
    """The table as the lines of its Markdown, for the documentation."""
    rows = (f"| {', '.join(f'`{name}`' for name in row.names)} | {row.reason} | {row.source} |" for row in TABLE)
    return ["| headers | why | source |", "|---|---|---|", *rows]
