"""The route of `chaski dev` without files."""

import pytest

from chaski_cli.dev.built_in import built_in_route
from chaski_runtime.process.command_error import CommandError, ExitCode


def test_it_allows_the_built_in_target_chaski_listen_and_what_is_given() -> None:
    """Each by both names of this machine."""
    route = built_in_route(["http://127.0.0.1:3000/", "https://*.example.com/hooks/"])
    assert route.key == "default/dev"
    assert [(rule.name, rule.url) for rule in route.allow] == [
        ("built-in", "http://127.0.0.1:9000/"),
        ("built-in-1", "http://localhost:9000/"),
        ("listen", "http://127.0.0.1:9001/"),
        ("listen-1", "http://localhost:9001/"),
        ("allow", "http://127.0.0.1:3000/"),
        ("allow-1", "https://*.example.com/hooks/"),
    ]


def test_an_invalid_target_is_named_with_a_valid_one() -> None:
    """Exit code 2."""
    with pytest.raises(CommandError) as caught:
        built_in_route(["localhost:3000"])
    assert caught.value.exit_code == ExitCode.WRONG_INPUT
    assert str(caught.value) == '--allow: "localhost:3000" must begin with http:// or https://'
    assert caught.value.next_step == "give scheme, host and port, such as http://127.0.0.1:3000/"
