"""A resolved route as a document: `chaski provision` and the operator write it, ingest and workers read it.

    apiVersion: chaski.dev/v1alpha1
    kind: ResolvedRoute
    route: <the ChaskiRoute>
    resolved: <queues and table, in the form of a ChaskiRoute's `status.resolved`>

Fields that this release does not know are ignored on both levels, so that it can read a document of the next release;
fields that this release adds must be optional, so that it can read documents of the last one. This is a module of its own
because it imports the validators, which the users of `resolved` do not need.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.retry.policy import Rung
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue
from chaski_core.route.validation.crd import GROUP_VERSION, known_part
from chaski_core.route.yaml_documents import read_documents

KIND = "ResolvedRoute"


def resolved_values(resolved: ResolvedRoute) -> dict[str, Any]:
    """The queues and the table of a route, in the form of `status.resolved`."""
    values: dict[str, Any] = {
        "generation": resolved.current.number,
        "generations": [
            {
                "number": generation.number,
                "queues": [{"name": name, "urls": list(urls)} for name, urls in generation.queues.items()],
            }
            for generation in resolved.generations
        ],
        "rungs": _rung_values(resolved.rungs),
        "retiredRungs": _rung_values(resolved.retired_rungs),
    }
    if resolved.dead_letter_table is not None:
        values["deadLetterTable"] = resolved.dead_letter_table
    return values


def resolved_document(resolved: ResolvedRoute) -> dict[str, Any]:
    """`{apiVersion, kind, route, resolved}`; the route without its status."""
    route = resolved.route
    declared = {
        "apiVersion": route.document["apiVersion"],
        "kind": route.document["kind"],
        "metadata": {"name": route.name, "namespace": route.namespace},
        "spec": route.document["spec"],
    }
    return {"apiVersion": GROUP_VERSION, "kind": KIND, "route": declared, "resolved": resolved_values(resolved)}


def resolved_yaml(routes: Iterable[ResolvedRoute]) -> str:
    """A YAML text with one document for each route, which `load_resolved` reads."""
    return yaml.dump_all(
        [resolved_document(resolved) for resolved in routes],
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=120,
    )


def load_resolved(text: str) -> list[ResolvedRoute]:
    """The resolved routes of a YAML or JSON text.

    Raises:
        InvalidRouteError: the text has none, or one of them is invalid.
    """
    documents = read_documents(text)
    if not documents:
        raise InvalidRouteError([FieldError("", f"has no {KIND}")])
    return [read_resolved_document(document) for document in documents]


def read_resolved_document(document: Mapping[str, Any]) -> ResolvedRoute:
    """The resolved route of a document.

    Raises:
        InvalidRouteError: the document is not a resolved route; names each invalid field.
    """
    if document.get("kind") != KIND:
        message = f'must be {KIND}, not "{document.get("kind")}": make one with `chaski provision`'
        raise InvalidRouteError([FieldError("kind", message)])
    raw = document.get("route")
    if not isinstance(raw, dict):
        raise InvalidRouteError([FieldError("route", "is not a ChaskiRoute")])
    return read_resolved_values(load_route(known_part(raw)), document.get("resolved"))


def read_resolved_values(route: Route, values: object) -> ResolvedRoute:
    """A route with its queues and its table.

    Args:
        route: the route.
        values: as `resolved_values` writes them.

    Raises:
        InvalidRouteError: a value is missing or of the wrong type, or a queue of the route has no URLs.
    """
    try:
        resolved = _read(route, values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRouteError([FieldError("resolved", f"is invalid: {_error_text(error)}")]) from error
    if not resolved.generations:
        raise InvalidRouteError([FieldError("resolved.generations", "has no generation")])
    for queue in route.queues:
        if not resolved.current.queues.get(queue.name):
            message = f'has no URLs for queue "{queue.name}": run `chaski provision` for the current route'
            raise InvalidRouteError([FieldError("resolved.generations", message)])
    return resolved


def _read(route: Route, values: Any) -> ResolvedRoute:
    generations = sorted(
        (
            Generation(int(each["number"]), {queue["name"]: _urls(queue["urls"]) for queue in each["queues"]})
            for each in values["generations"]
        ),
        key=lambda generation: generation.number,
    )
    table = values.get("deadLetterTable")
    return ResolvedRoute(
        route,
        tuple(generations),
        _read_rungs(values.get("rungs")),
        _read_rungs(values.get("retiredRungs")),
        None if table is None else str(table),
    )


def _urls(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(url, str) for url in values):
        raise TypeError("`urls` is not a list of texts")
    return tuple(values)


def _read_rungs(values: Any) -> tuple[RungQueue, ...]:
    return tuple(RungQueue(Rung(each["name"], int(each["delaySeconds"])), each["url"]) for each in values or ())


def _rung_values(rungs: Iterable[RungQueue]) -> list[dict[str, Any]]:
    return [{"name": each.rung.name, "delaySeconds": each.rung.delay_seconds, "url": each.url} for each in rungs]


def _error_text(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


# ---- YAML that kubectl and PyYAML read alike: every text that could be another type is quoted

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*\Z")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own protocol
        """Repeats a value instead of writing an alias."""
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.match(text) is not None and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text_node)
