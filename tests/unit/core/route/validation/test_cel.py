"""The functions of rules give the same values as those of Kubernetes."""

import subprocess
import sys
from typing import Any

import pytest

from chaski_core.route.validation.cel import Expression, RuleError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'%s: %d %s'.format(['a%s', 3, [1, 2]])", "a%s: 3 [1, 2]"),
        ("[1, 1, 2].isSorted() && ![2, 1].isSorted() && [].isSorted()", True),
        ("'abc'.find('b+')", "b"),
        ("'abc'.find('z')", ""),
        ("''.find('(') == ''", False),
        ("'a1b22'.findAll('[0-9]+').size()", 2),
        ("isCIDR('10.0.0.0/8') && isCIDR('fd00::/8') && isCIDR('10.0.0.5/8')", True),
        ("isCIDR('10.0.0.0')", False),
        ("isCIDR('10.0.0.0/255.0.0.0')", False),
        ("isCIDR('10.0.0.0/08')", False),
        ("isCIDR('10.0.0.0/33')", False),
        ("isCIDR('fe80::%eth0/64')", False),
        ("isCIDR('::ffff:10.0.0.0/104')", False),
        ("cidr('FD00::/8') == cidr('fd00::/8').masked()", True),
        ("string(cidr('10.1.2.3/8').masked())", "10.0.0.0/8"),
        ("self.__namespace__ + (has(self.__namespace__) ? '!' : '')", "here!"),
    ],
)
def test_a_function_has_the_value_that_kubernetes_gives_it(expression: str, value: Any) -> None:
    """Every function of the rules, and keywords of CEL as field names."""
    assert Expression(expression).value({"self": {"namespace": "here"}}) == value


@pytest.mark.parametrize("expression", ["self.missing", "self.namespace + 1", "[1][2]"])
def test_an_expression_that_can_not_be_evaluated_is_an_error(expression: str) -> None:
    """It is an evaluation error of the API server too."""
    with pytest.raises(RuleError):
        Expression(expression).value({"self": {"namespace": "here"}})


def test_a_text_that_is_not_an_expression_is_refused() -> None:
    """An invalid rule is found when it is compiled."""
    with pytest.raises(ValueError, match="parse"):
        Expression("self.(")


def test_the_package_can_be_imported_beside_its_evaluator() -> None:
    """Its compiled module can be initialized only once in a process."""
    code = "from chaski_core.route.validation import cel as ours; import cel; print(cel.compile is ours._cel.compile)"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("True\n", "")
