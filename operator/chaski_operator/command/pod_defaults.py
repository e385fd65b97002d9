"""The defaults of the Pods of workers and replays, from `--worker-pod`. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson
import typer

from chaski_operator.settings import DEFAULT_RESOURCES

_FLAG = "--worker-pod"
_FIELDS: Mapping[str, type] = {
    "labels": dict,
    "annotations": dict,
    "priorityClassName": str,
    "nodeSelector": dict,
    "tolerations": list,
    "affinity": dict,
    "topologySpread": list,
    "resources": dict,
}
_TYPES: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}
_RESERVED = ("chaski.dev/", "app.kubernetes.io/")


def pod_defaults(text: str) -> Mapping[str, Any]:
    """The fields of `--worker-pod`; without `resources` those of `DEFAULT_RESOURCES`, which `{}` turns off.

    Raises:
        typer.BadParameter: the text is not JSON, or has an unknown field or one of another type; the message names it. The API
            server judges the rest when a Deployment is applied.
    """
    try:
        given = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"{_FLAG}: not JSON: {error}") from error
    if not isinstance(given, dict):
        raise typer.BadParameter(f'{_FLAG}: must be an object of JSON, such as {{"priorityClassName": "delivery"}}')
    for name, value in given.items():
        if name not in _FIELDS:
            raise typer.BadParameter(f"{_FLAG}: {name} is not one of {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]):
            raise typer.BadParameter(f"{_FLAG}: {name} must be {_TYPES[_FIELDS[name]]}")
    for name in ("labels", "annotations"):
        _check_texts(name, given.get(name, {}))
    if any(not isinstance(each, dict) or "labelSelector" in each for each in given.get("topologySpread", ())):
        raise typer.BadParameter(
            f"{_FLAG}: topologySpread: each must be an object without labelSelector, which is added"
        )
    return {"resources": DEFAULT_RESOURCES, **given}


def _check_texts(field: str, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if not isinstance(value, str):
            raise typer.BadParameter(f"{_FLAG}: {field}.{name} must be a text")
        if name.startswith(_RESERVED):
            raise typer.BadParameter(f"{_FLAG}: {field}.{name} belongs to Chaski; choose another name")
