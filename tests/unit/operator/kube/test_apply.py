"""The comparison of a live object with the desired one."""

from typing import Any

import pytest

from chaski_operator.kube.apply import difference


@pytest.mark.parametrize(
    ("desired", "live", "place"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}, None),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b"),
        ({"a": {"b": 1}}, {}, "a"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": []}, {}, None),
        ({"a": {}}, {}, None),
        ({"a": []}, {"a": [1]}, "a"),
        ({"c": [{"name": "x", "v": 1}]}, {"c": [{"name": "sidecar"}, {"name": "x", "v": 1, "d": 0}]}, None),
        ({"c": [{"name": "x", "v": 1}]}, {"c": [{"name": "x", "v": 2}]}, "c[x].v"),
        ({"c": [{"name": "x"}]}, {"c": [{"name": "y"}]}, "c[x]"),
        ({"c": [{"port": 1}]}, {"c": [{"port": 2}]}, "c[0].port"),
        ({"s": {"resources": {"limits": {"cpu": "0.5"}}}}, {"s": {"resources": {"limits": {"cpu": "500m"}}}}, None),
        ({"s": {"resources": {"limits": {"m": "1Gi"}}}}, {"s": {"resources": {"limits": {"m": "1024Mi"}}}}, None),
        ({"s": {"resources": {"limits": {"cpu": 1}}}}, {"s": {"resources": {"limits": {"cpu": "1"}}}}, None),
        ({"s": {"resources": {"limits": {"cpu": "1e3"}}}}, {"s": {"resources": {"limits": {"cpu": "1k"}}}}, None),
        (
            {"s": {"resources": {"limits": {"cpu": "1"}}}},
            {"s": {"resources": {"limits": {"cpu": "1m"}}}},
            "s.resources.limits.cpu",
        ),
        ({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "1000m"}]}, "env[a].value"),
    ],
)
def test_difference_is_the_first_desired_value_that_is_missing(desired: Any, live: Any, place: str | None) -> None:
    """Additions by others and other spellings of a quantity do not count."""
    assert difference(desired, live) == place
