"""A hook of MkDocs: the page of all commands, from the parser of the command line."""

import re
from collections.abc import Iterator

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from chaski_cli.app import make_app
from chaski_cli.commands.kubectl import make_kubectl_app

PAGE = "reference/commands.md"
Parameter = typer.core.TyperArgument | typer.core.TyperOption
_INTRODUCTION = """# Commands

What `--help` of each command prints. [Command line](../cli.md) describes what they have in common: exit codes, tables, JSON.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    files.append(File.generated(config, PAGE, content=commands_page()))
    return files


def commands_page() -> str:
    """The page as Markdown: a section for each command."""
    of_chaski = typer.main.get_command(make_app(["--help"]))
    of_kubectl = typer.main.get_command(make_kubectl_app())
    sections = [*_sections(of_chaski, "chaski"), *_sections(of_kubectl, "kubectl chaski")]
    return "\n".join([_INTRODUCTION, *sections])


def _sections(command: typer.core.TyperCommand, name: str) -> Iterator[str]:
    yield f"## {name}\n"
    yield from _help(command.help or "")
    if isinstance(command, typer.core.TyperGroup):
        for each, below in command.commands.items():
            if not below.hidden:
                yield from _sections(below, f"{name} {each}")
        return
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    yield "| | |\n|---|---|"
    for parameter in shown:
        yield _row(parameter)
    yield ""


def _help(text: str) -> Iterator[str]:
    """Paragraphs; those that are examples as code."""
    for paragraph in text.split("\n\n"):
        joined = re.sub(r"\[/?\w*\]", "", " ".join(paragraph.replace("\b", "").split()))  # without rich's markup
        if joined.startswith("Example: "):
            yield f"```\n{joined.removeprefix('Example: ')}\n```\n"
        elif joined:
            yield f"{joined.replace('<', '&lt;')}\n"


def _row(parameter: Parameter) -> str:
    """A row of the table: names and value, the help and the default."""
    if isinstance(parameter, typer.core.TyperArgument):
        names = parameter.metavar or parameter.name or ""
    else:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        names += "" if parameter.is_flag else f" {_value(parameter)}"
    default = _default(parameter)
    cells = (f"`{names}`", f"{parameter.help or ''}{f' Default: `{default}`.' if default else ''}")
    return "| " + " | ".join(" ".join(each.split()).replace("|", "\\|").replace("<", "&lt;") for each in cells) + " |"


def _value(option: typer.core.TyperOption) -> str:
    return option.metavar or str(option.display_type).strip("<>")


def _default(parameter: Parameter) -> str:
    default = parameter.default
    if default is None or callable(default) or default in (False, (), []):
        return ""
    return str(getattr(default, "value", default))
