"""YAML as kubectl reads it. Values here were compared with sigs.k8s.io/yaml v1.6.0."""

from typing import Any

import pytest

from chaski_core.errors import InvalidRouteError
from chaski_core.route.yaml_documents import read_documents


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        *[(text, True) for text in ("y", "Yes", "on", "true", "TRUE")],
        *[(text, False) for text in ("n", "NO", "Off", "false")],
        *[(text, None) for text in ("", "~", "null", "NULL")],
        *[(text, text) for text in ("yEs", "1:30", "2026-01-02", "0x", "1e", "_1", ".", "5s")],
        ('"y"', "y"),
        ("'404'", "404"),
        ("!!str 404", "404"),
        ('!!int "5"', 5),
        ("010", 8),
        ("0o14", 12),
        ("08", 8),
        ("0x1F", 31),
        ("0b11", 3),
        ("-7", -7),
        ("1_000", 1000),
        ("1e3", 1000),
        ("30.0", 30),
        ("1.5e-3", 0.0015),
        (".5", 0.5),
    ],
)
def test_a_scalar_has_the_type_that_kubectl_gives_it(scalar: str, value: Any) -> None:
    """Text, number, boolean or null, by kubectl's rules instead of those of YAML 1.2."""
    (document,) = read_documents(f"value: {scalar}")
    assert document == {"value": value}
    assert type(document["value"]) is type(value)


def test_keys_are_text_as_kubectl_sends_them() -> None:
    """A number or a boolean as a key becomes text."""
    assert read_documents("{404: a, true: b, n: c}") == [{"404": "a", "true": "b", "false": "c"}]


def test_several_documents_are_read_and_empty_ones_skipped() -> None:
    """Separators and comments are not documents."""
    assert read_documents("---\na: 1\n---\n# nothing\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_aliases_and_merge_keys_are_followed() -> None:
    """A mapping's own keys win over those merged in, and earlier sources over later ones."""
    text = "a: &a {x: 1, w: 1}\nb: &b {w: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {<<: *b}\n"
    (document,) = read_documents(text)
    assert document["c"] == {"x": 3, "w": 1, "z": 2}
    assert document["d"] == {"w": 2, "z": 2}


def test_json_is_yaml() -> None:
    """A manifest may be JSON."""
    assert read_documents('{"a": [1, true, null, "x"]}') == [{"a": [1, True, None, "x"]}]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: {\n", "line 3: not valid YAML: "),
        ("a: 1\n  b: 2\n", "line 2: not valid YAML: mapping values are not allowed"),
        ("a: *nowhere\n", "line 1: not valid YAML: found undefined alias"),
        ("a\x00b", "not valid YAML: "),
        ("a: 1\nb: 2\na: 3\n", 'line 3: the key "a" is a duplicate'),
        ("a: {b: 1, b: 2}\n", 'line 1: the key "b" is a duplicate'),
        ("- a\n- b\n", "line 1: a document must be a mapping"),
        ("a: 1\n---\njust text\n", "line 3: a document must be a mapping"),
        ("a:\n  b: .inf\n", "line 2: JSON can't represent the number .inf"),
        ("a: !!binary aGk=\n", "line 1: the tag !!binary is not allowed in a manifest"),
        ("a: !mine x\n", "line 1: the tag !mine is not allowed in a manifest"),
        ("? [a, b]\n: 1\n", "line 1: a key must be text"),
        ("~: 1\n", "line 1: a key must be text"),
        ("a: {<<: 1}\n", "line 1: << needs a mapping"),
        ("a: &a\n  b: *a\n", "line "),
        ("a: " + "[" * 80 + "]" * 80, "line 1: too large or too deep"),
    ],
)
def test_an_invalid_manifest_is_refused_with_its_line(text: str, fault: str) -> None:
    """The first fault has the line and the reason."""
    with pytest.raises(InvalidRouteError) as refused:
        read_documents(text)
    assert str(refused.value.errors[0]).startswith(fault)


def test_every_fault_is_reported() -> None:
    """Two duplicate keys are two faults."""
    with pytest.raises(InvalidRouteError) as refused:
        read_documents("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [fault.message.split(":")[0] for fault in refused.value.errors] == ["line 2", "line 3"]


def test_a_small_text_can_not_become_a_huge_document() -> None:
    """Every use of an alias counts; the fault is reported once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InvalidRouteError) as refused:
        read_documents("\n".join(lines))
    assert len(refused.value.errors) == 1
    assert "too large" in refused.value.errors[0].message
