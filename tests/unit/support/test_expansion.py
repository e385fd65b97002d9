"""The kubelet's expansion, by cases of Kubernetes' own expand_test.go."""

import pytest

from support.kube.expansion import environment_of, expand

VARIABLES = {"VAR_A": "A", "VAR_B": "B", "VAR_C": "C", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)_$(VAR_B)_$(VAR_C)", "A_B_C"),
        ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"),
        ("f000-$$VAR_A", "f000-$VAR_A"),
        ("foo\\$(VAR_C)bar", "foo\\Cbar"),
        ("foo\\\\$(VAR_C)bar", "foo\\\\Cbar"),
        ("foo$(VAR_EMPTY)bar", "foobar"),
        ("$(VAR_REF)", "$(VAR_A)"),
        ("$$(VAR_A)", "$(VAR_A)"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$VAR_A", "$VAR_A"),
        ("$(VAR_DNE)", "$(VAR_DNE)"),
        ("$(VAR_A", "$(VAR_A"),
        ("$(VAR_B)_______$(A", "B_______$(A"),
        ("$$", "$"),
        ("foo$", "foo$"),
        ("$", "$"),
        ("$(foo$$var)", "$(foo$$var)"),
        ("$()", "$()"),
        ("$ü(VAR_A)", "$ü(VAR_A)"),
    ],
)
def test_a_text_is_expanded_as_the_kubelet_expands_it(text: str, expanded: str) -> None:
    """A reference to an unknown variable, or one that does not end, stays."""
    assert expand(text, VARIABLES) == expanded


def test_a_value_of_env_refers_to_those_before_it() -> None:
    """As TestMapReference."""
    env = [{"name": "FOO", "value": "bar"}, {"name": "ZOO", "value": "$(FOO)-1"}, {"name": "A", "value": "$(B)"}]
    assert environment_of(env) == {"FOO": "bar", "ZOO": "bar-1", "A": "$(B)"}
