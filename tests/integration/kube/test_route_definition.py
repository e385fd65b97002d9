"""A real API server accepts exactly the ChaskiRoutes that our own validation accepts."""

from typing import Any

from chaski_core.route.loading import validate
from contract.crd.odd_values import odd_documents
from support.kube.api_server import KubeApi
from support.kube.http import ROUTES, KubeHttp

DRY_RUN = "dryRun=All&fieldValidation=Strict"


def refusal(http: KubeHttp, place: str, document: dict[str, Any]) -> str | None:
    """The API server's message if it refuses the route in a namespace, otherwise None."""
    document["metadata"]["namespace"] = place
    return http.refusal("POST", f"{ROUTES}/namespaces/{place}/chaskiroutes?{DRY_RUN}", document)


def test_odd_values_are_accepted_or_refused_by_both(kube: KubeApi) -> None:
    """Else a route would be stored, and then not be accepted by the operator."""
    place, http = kube.make_namespace("definition"), KubeHttp(kube)
    differing = {}
    for name, document in odd_documents():
        server, ours = refusal(http, place, document), validate(document)
        if (server is None) != (not ours):
            differing[name] = (server, [str(each) for each in ours])
    assert differing == {}
