"""The route and the target of a `chaski dev` without route files."""

from collections.abc import Sequence

from chaski_core.errors import InvalidRouteError
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_runtime.process.command_error import wrong_input

TARGET_PORT = 9000  # where `chaski dev` responds itself, unless another server does
LISTEN_PORT = 9001  # of `chaski listen`
_HOSTS = ("127.0.0.1", "localhost")


def built_in_route(allow: Sequence[str]) -> Route:
    """The route `default/dev`.

    Args:
        allow: URLs of further targets, as in `spec.targets.allow[].url`.

    Raises:
        CommandError: one of them is invalid.
    """
    rules = [
        *_rules("built-in", [f"http://{host}:{TARGET_PORT}/" for host in _HOSTS]),
        *_rules("listen", [f"http://{host}:{LISTEN_PORT}/" for host in _HOSTS]),
        *_rules("allow", allow),
    ]
    document = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "dev", "namespace": "default"},
        "spec": {"ordering": "Relaxed", "queues": [{"name": "messages"}], "targets": {"allow": rules}},
    }
    try:
        return load_route(document)
    except InvalidRouteError as error:
        messages = "; ".join(each.message for each in error.errors)
        raise wrong_input(
            f"--allow: {messages}", "give scheme, host and port, such as http://127.0.0.1:3000/"
        ) from error


def _rules(name: str, urls: Sequence[str]) -> list[dict[str, str]]:
    return [{"name": f"{name}-{number}" if number else name, "url": url} for number, url in enumerate(urls)]
