"""A metrics adapter for tests: serves the operator's `/metrics` as external metrics, as prometheus-adapter serves Prometheus'.

The API server forwards `external.metrics.k8s.io` to it, so the HPA controller of Kubernetes reads it as any other adapter:
https://github.com/kubernetes/metrics/blob/v0.34.4/pkg/apis/external_metrics/v1beta1/types.go
"""

import base64
import contextlib
import datetime as dt
import json
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.kube import certificates
from support.kube.api_server import KubeApi

_GROUP, _VERSION = "external.metrics.k8s.io", "v1beta1"
_ROOT = f"/apis/{_GROUP}/{_VERSION}"
_SERVICE = "metrics-adapter"


@contextlib.contextmanager
def metrics_adapter(kube: KubeApi, namespace: str, page: Callable[[], str]) -> Iterator[None]:
    """Registers an adapter, by a Service of this namespace, until the end.

    Args:
        kube: an API server of the test's own: it has one adapter.
        namespace: of the Service.
        page: reads the metrics in Prometheus' text format; called for each request.
    """
    name = f"{_SERVICE}.{namespace}.svc"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.server_certificate(kube.folder, name))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(page))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service, registration = _objects(namespace, server.server_port, kube.ca)
    kube.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": [service, registration]})
    try:
        kube.kubectl("wait", "--for=condition=Available", "--timeout=50s", f"apiservice/{_VERSION}.{_GROUP}")
        yield
    finally:
        kube.kubectl("delete", "apiservice", f"{_VERSION}.{_GROUP}")
        server.shutdown()
        server.server_close()
        thread.join(30)


def _objects(namespace: str, port: int, authority: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """An ExternalName Service, which needs no endpoints: the API server calls this machine itself."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _SERVICE, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    spec = {
        "group": _GROUP,
        "version": _VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"name": _SERVICE, "namespace": namespace, "port": port},
        "caBundle": _base64(authority),
    }
    metadata = {"name": f"{_VERSION}.{_GROUP}"}
    return service, {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": metadata,
        "spec": spec,
    }


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _handler(page: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            document = _response(self.path, page)
            content = json.dumps(document or {"kind": "Status", "apiVersion": "v1", "status": "Failure"}).encode()
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _response(path: str, page: Callable[[], str]) -> Mapping[str, Any] | None:
    url = urllib.parse.urlsplit(path)
    if url.path == _ROOT:
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{_GROUP}/{_VERSION}", "resources": []}
    parts = url.path.removeprefix(f"{_ROOT}/namespaces/").split("/")
    if not url.path.startswith(f"{_ROOT}/namespaces/") or len(parts) != 2:
        return None
    namespace, metric = parts
    selector = dict(urllib.parse.parse_qsl(url.query)).get("labelSelector", "")
    labels = {"namespace": namespace} | dict(each.split("=", 1) for each in selector.split(",") if each)
    items = [
        {"metricName": metric, "metricLabels": dict(sample.labels), "timestamp": _now(), "value": f"{sample.value:.0f}"}
        for family in text_string_to_metric_families(page())
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    ]
    return {"kind": "ExternalMetricValueList", "apiVersion": f"{_GROUP}/{_VERSION}", "metadata": {}, "items": items}


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fetch(url: str) -> str:
    """A page of metrics of a process of this machine."""
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - our own process
        return str(response.read().decode())
