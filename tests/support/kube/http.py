"""HTTP requests to a real API server: tests poll often, and each run of kubectl takes a fifth of a second."""

import json
import urllib.error
import urllib.request
from typing import Any

from chaski_runtime.kube.config import kube_access
from support.kube.api_server import KubeApi

_TIMEOUT_SECONDS = 30
ROUTES = "/apis/chaski.dev/v1alpha1"
DEPLOYMENTS = "/apis/apps/v1"


class KubeHttp:
    """Requests as the admin."""

    def __init__(self, kube: KubeApi) -> None:
        access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
        self._server = access.server
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=access.ssl_context()))

    def get(self, path: str) -> Any:
        """An object or a list; None if it does not exist."""
        return self._call(urllib.request.Request(self._server + path))  # noqa: S310 - our own server

    def items(self, path: str) -> list[Any]:
        """The objects of a list."""
        found = self.get(path)
        return [] if found is None else list(found["items"])

    def merge_patch(self, path: str, body: Any) -> Any:
        """Patches an object; None if it does not exist."""
        headers = {"Content-Type": "application/merge-patch+json"}
        data = json.dumps(body).encode()
        return self._call(urllib.request.Request(self._server + path, data, headers, method="PATCH"))  # noqa: S310 - as above

    def refusal(self, method: str, path: str, body: Any) -> str | None:
        """The message of a refused write; None if it is accepted."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._server + path, json.dumps(body).encode(), headers, method=method)  # noqa: S310 - as above
        try:
            self._opener.open(request, timeout=_TIMEOUT_SECONDS).close()
        except urllib.error.HTTPError as error:
            with error:
                return str(json.load(error)["message"])
        return None

    def _call(self, request: urllib.request.Request) -> Any:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
            raise
