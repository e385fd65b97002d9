"""The API server refuses the same manifests as `chaski validate`, for the same cause. The table is the contract's."""

import copy
import re
from typing import Any

import pytest

from chaski_core.route.loading import validate, validate_change
from contract.crd.making import Manifest
from contract.crd.manifests import INVALID, VALID
from support.kube.api_server import KubeApi
from support.kube.http import ROUTES, KubeHttp

STRICT = "fieldValidation=Strict"


@pytest.fixture(scope="module")
def place(kube: KubeApi) -> str:
    """A namespace without an operator."""
    return kube.make_namespace("refused")


@pytest.fixture(scope="module")
def http(kube: KubeApi) -> KubeHttp:
    """Requests as the admin."""
    return KubeHttp(kube)


def in_namespace(document: Any, namespace: str, name: str | None = None) -> Any:
    """The document, moved to a namespace."""
    moved = copy.deepcopy(dict(document))
    if isinstance(moved.get("metadata"), dict):
        moved["metadata"]["namespace"] = namespace
        if name is not None:
            moved["metadata"]["name"] = name
    return moved


def refusal_of(http: KubeHttp, manifest: Manifest, namespace: str) -> str | None:
    """The API server's refusal of a manifest, or of a change to it; None if it is accepted."""
    collection = f"{ROUTES}/namespaces/{namespace}/chaskiroutes"
    if manifest.old is None:
        about_namespace = any(field == "metadata.namespace" for field, _ in manifest.faults)
        document = manifest.document if about_namespace else in_namespace(manifest.document, namespace)
        return http.refusal("POST", f"{collection}?dryRun=All&{STRICT}", document)
    name = f"old-{INVALID.index(manifest)}"
    assert http.refusal("POST", collection, in_namespace(manifest.old, namespace, name)) is None
    version = http.get(f"{collection}/{name}")["metadata"]["resourceVersion"]
    changed = in_namespace(manifest.document, namespace, name)
    changed["metadata"]["resourceVersion"] = version
    return http.refusal("PUT", f"{collection}/{name}?{STRICT}", changed)


def _named(manifests: tuple[Manifest, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("manifest", manifests, ids=[one.name.replace(" ", "-") for one in manifests])


@_named(VALID)
def test_api_server_accepts_a_valid_route(http: KubeHttp, place: str, manifest: Manifest) -> None:
    """As `chaski validate` does."""
    assert refusal_of(http, manifest, place) is None


@_named(INVALID)
def test_api_server_refuses_for_the_same_cause(http: KubeHttp, place: str, manifest: Manifest) -> None:
    """A rule has the same message; a fault of the schema names the same field."""
    assert validate(manifest.document) if manifest.old is None else validate_change(manifest.old, manifest.document)
    refusal = refusal_of(http, manifest, place)
    assert refusal is not None, "the API server accepts it"
    if manifest.of_the_schema:
        fields = [re.sub(r"\[\d+\]$", "", field).removeprefix("metadata.") for field, _ in manifest.faults]
        assert any(field in refusal for field in fields), refusal
    else:
        assert any(message in refusal for _, message in manifest.faults), refusal
