"""The flags of `chaski dev`."""

from typing import get_args, get_type_hints

import typer

from chaski_cli.commands.dev import dev
from chaski_worker.settings import MAX_CONTENT_CHARACTERS, MAX_VISIBILITY_SECONDS, MIN_VISIBILITY_SECONDS


def test_settings_of_workers_have_the_bounds_of_the_worker() -> None:
    """They stand in the flags again, so that help does not import a worker."""
    hints = get_type_hints(dev, include_extras=True)
    options = {name: get_args(hints[name])[1] for name in ("visibility_seconds", "log_content_chars")}
    assert all(isinstance(option, typer.models.OptionInfo) for option in options.values())
    bounds = {name: (option.min, option.max) for name, option in options.items()}
    assert bounds == {
        "visibility_seconds": (MIN_VISIBILITY_SECONDS, MAX_VISIBILITY_SECONDS),
        "log_content_chars": (0, MAX_CONTENT_CHARACTERS),
    }
