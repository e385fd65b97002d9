"""EndpointSlices of the Service of ingest."""

from typing import Any

SERVICE = "chaski-ingest"


def endpoint_slice(name: str, family: str, *pods: tuple[str, bool], service: str = SERVICE) -> dict[str, Any]:
    """An EndpointSlice of a Service, with its Pods and whether each is ready."""
    prefix = "10.0.0." if family == "IPv4" else "fd00::"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {
                "addresses": [f"{prefix}{number}"],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": pod},
            }
            for number, (pod, ready) in enumerate(pods, 1)
        ],
    }
