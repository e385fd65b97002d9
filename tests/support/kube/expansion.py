"""How the kubelet expands `$(NAME)` in arguments and in values of `env`.

A translation of `Expand` of k8s.io/kubernetes, third_party/forked/golang/expansion/expand.go (1.34 to 1.37).
"""

from collections.abc import Iterable, Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    """The text with references to known variables replaced; others stay."""
    done, rest = "", text
    while "$" in rest[:-1]:
        before, _, rest = rest.partition("$")
        name, closer, after = rest[1:].partition(")")
        if rest[0] == "$":
            done, rest = f"{done}{before}$", rest[1:]
        elif rest[0] == "(" and closer:
            done, rest = f"{done}{before}{variables.get(name, f'$({name})')}", after
        else:
            done, rest = f"{done}{before}${rest[0]}", rest[1:]
    return done + rest


def environment_of(env: Iterable[Mapping[str, str]], given: Mapping[str, str] = {}) -> dict[str, str]:
    """The variables of a container: each value is expanded by those before it.

    Args:
        env: the container's `env`.
        given: variables that the container has already.
    """
    variables = dict(given)
    for each in env:
        variables[each["name"]] = expand(each["value"], variables)
    return variables
