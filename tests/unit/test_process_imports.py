"""The large packages that each process imports: every worker Pod pays for them in memory and start-up time."""

import subprocess
import sys

import pytest

# Each takes more than 1 MiB, and is imported by something that is installed with Chaski.
LARGE = {
    "aiohttp",
    "argon2",
    "boto3",
    "botocore",
    "cel.cel",
    "jinja2",
    "jsonschema",
    "kopf",
    "kubernetes",
    "opentelemetry",
    "prompt_toolkit",
    "pydantic",
    "pygments",
    "requests",
    "rich",
    "sqlite3",
    "typer",
    "yaml",
}
COMMAND = {"typer", "pydantic"}  # typer converts values by pydantic
ROUTES = {"cel.cel", "jsonschema", "yaml"}  # validation
AWS = {"aiohttp", "botocore"}
CLUSTER = {"kubernetes", "requests"}  # the official client imports requests


@pytest.mark.parametrize(
    ("module", "arguments", "imported"),
    [
        ("chaski_worker", ["consume", "--metrics-port=x"], COMMAND | ROUTES | AWS),
        ("chaski_ingest", ["--metrics-port=x"], COMMAND | ROUTES | AWS),
        ("chaski_ingest.canary", ["--metrics-port=x"], COMMAND | {"aiohttp"}),
        ("chaski_operator", ["--metrics-port=x"], COMMAND | ROUTES | AWS | CLUSTER | {"boto3", "kopf"}),
        ("chaski_embedded", ["--port=x"], COMMAND | {"aiohttp", "sqlite3"}),
    ],
)
def test_a_service_imports_only_the_large_packages_that_it_uses(
    module: str, arguments: list[str], imported: set[str]
) -> None:
    """With its flags read: the value of one of them is wrong, so it ends there."""
    assert _loaded(f"import {module}.__main__ as service; print(service.main({arguments}))") == (2, imported)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("chaski_console.process.service", ROUTES | AWS | {"argon2", "jinja2", "sqlite3"}),
        ("chaski_cli.dev.process", ROUTES | {"aiohttp", "argon2", "jinja2", "rich", "sqlite3"}),
        ("chaski_cli.dead_letters.replay", ROUTES | {"aiohttp", "rich", "sqlite3"}),
        ("chaski_cli.__main__", set()),
    ],
)
def test_a_command_imports_only_the_large_packages_that_it_uses(module: str, imported: set[str]) -> None:
    """What a command imports once its name is known; `chaski` itself imports nothing large before."""
    assert _loaded(f"import {module}; print(0)") == (0, imported)


def _loaded(code: str) -> tuple[int, set[str]]:
    """The number that the code prints, and the large packages that are imported then."""
    report = f"import sys\n{code}\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True)
    number, modules = ended.stdout.splitlines()[-2:]
    return int(number), LARGE & set(modules.split())
