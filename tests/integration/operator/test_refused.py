"""The API server itself refuses what `chaski validate` refuses, and for the same cause. The table is that of the contract."""

import copy
import re
from typing import Any

import pytest

from chaski_core.route.validation.validate import validate, validate_change
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
    """The admin."""
    return KubeHttp(kube)


def in_namespace(document: Any, namespace: str, name: str | None = None) -> Any:
    """The document, there."""
    moved = copy.deepcopy(dict(document))
    if isinstance(moved.get("metadata"), dict):
        moved["metadata"]["namespace"] = namespace
        if name is not None:
            moved["metadata"]["name"] = name
    return moved


def said(http: KubeHttp, manifest: Manifest, namespace: str) -> str | None:
    """What the API server says against a manifest, or against the change to it."""
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
def test_the_api_server_takes_a_right_route(http: KubeHttp, place: str, manifest: Manifest) -> None:
    """As `chaski validate` does."""
    assert said(http, manifest, place) is None


@_named(INVALID)
def test_the_api_server_refuses_for_the_same_cause(http: KubeHttp, place: str, manifest: Manifest) -> None:
    """A rule's sentence is the very same; a fault of the schema names the same field."""
    assert validate(manifest.document) if manifest.old is None else validate_change(manifest.old, manifest.document)
    told = said(http, manifest, place)
    assert told is not None, "the API server takes it"
    if manifest.of_the_schema:
        fields = [re.sub(r"\[\d+\]$", "", field).removeprefix("metadata.") for field, _ in manifest.faults]
        assert any(field in told for field in fields), told
    else:
        assert any(message in told for _, message in manifest.faults), told
