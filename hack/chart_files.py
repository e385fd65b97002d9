#!/usr/bin/env python3
"""Writes the generated files of the chart: its copies of the CRDs, and the table of values in its README.

`chart_files.py --check` writes nothing: it prints the files that differ and exits with status 1 if there are any. Needs PyYAML.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "chaski"
BEGIN, END = "<!-- values: written by `make chart` -->\n", "<!-- end of values -->\n"


def rows(node: yaml.MappingNode, lines: list[str], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and comment of each value; a mapping in flow style, or named `resources`, counts as one value."""
    for key, value in node.value:
        name = f"{above}{key.value}"
        comment = comment_above(lines, key.start_mark.line)
        if (
            isinstance(value, yaml.MappingNode)
            and value.value
            and not value.flow_style
            and name.rpartition(".")[2] != "resources"
        ):
            yield from rows(value, lines, f"{name}.")
        else:
            yield name, default_of(value), comment


def comment_above(lines: list[str], line: int) -> str:
    """The comment lines directly above a key, joined."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(found)


def default_of(node: yaml.Node) -> str:
    """A default as YAML in flow style on one line."""
    loaded = yaml.safe_load(yaml.serialize(node))
    text = yaml.safe_dump(loaded, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
    return '""' if loaded == "" else text


def table() -> str:
    """The table of the README."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise SystemExit("values.yaml contains no values")
    body = [
        f"| `{name}` | `{default.replace('|', chr(92) + '|')}` | {comment} |"
        for name, default, comment in rows(root, text.splitlines())
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *body]) + "\n"


def wanted() -> dict[Path, str]:
    """The expected text of each file."""
    readme = CHART / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    definitions = {
        CHART / "files" / file.name: file.read_text(encoding="utf-8") for file in (ROOT / "crds").glob("*.yaml")
    }
    return {readme: f"{head}{BEGIN}\n{table()}\n{END}{tail}"} | definitions


def main() -> int:
    """Writes or checks the files; returns the exit status."""
    differing = {file: text for file, text in wanted().items() if not file.exists() or file.read_text() != text}
    if "--check" in sys.argv[1:]:
        for file in differing:
            print(f"{file.relative_to(ROOT)} is outdated: run `make chart`", file=sys.stderr)
        return int(bool(differing))
    for file, text in differing.items():
        file.write_text(text, encoding="utf-8")
        print(f"wrote {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
