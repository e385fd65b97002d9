"""Refuses words that a newcomer would have to learn, in names, comments, docstrings, messages and documents.

CONTRIBUTING.md has the glossary. Usage: python hack/words.py [--count] [PATH ...]; without paths every tracked file is checked.
Prints each finding with its place and exits with code 1 if there is one; `--count` prints the number for each top folder instead.
A line that has to quote one of the words contains `words: allow`.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

# word -> what to write instead; each stands for its other forms too
INSTEAD = {
    "tell": "report, log, describe, notify",
    "look": "poll, check, reconcile, observe, observation",
    "said": "reported, condition, description",
    "news": "event, change",
    "room": "capacity, limit, space",
    "house": "repository, process",
    "door": "authenticator, control API",
    "entrance": "middleware",
    "somebody": "the actor: a client, another process, a person",
    "whoever": "the actor: a client, the caller",
    "away": "unavailable, unreachable",
    "bear": "tolerate",
    "mend": "fix, repair",
    "company": "batch",
    "so many": "the number, or a limit",
    "is no": "is not a, is not an, is invalid",
}
_FORMS = {
    "tell": "tell|tells|telling|told",
    "look": "look|looks|looked|looking",
    "room": "room|rooms",
    "house": "house|houses|housekeep",
    "door": "door|doors",
    "somebody": "somebody|nobody|anybody",
    "bear": "bear|bears|borne",
    "mend": "mend|mends|mended|mending",
    "is no": r"(?<!there )(?<!there\n)is no(?= (?!longer\b|more\b|later\b|earlier\b|less\b|older\b|larger\b|such\b)[a-z`])",
}
_LOOK_UP = r"(?!\s+(?:\w+ ){0,2}up\b)"  # in prose, "look up" and "look a name up" are allowed
# Codes with hyphens, such as `queue-away`, belong to wire formats.
_PROSE = re.compile(
    "|".join(
        rf"(?P<w{number}>(?<!\w-)\b(?:{_FORMS.get(word, word)})\b{_LOOK_UP if word == 'look' else ''})"
        for number, word in enumerate(INSTEAD)
    ),
    re.IGNORECASE,
)
_NAME_WORDS = {form: word for word in INSTEAD if " " not in word for form in _FORMS.get(word, word).split("|")}
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_DOCUMENTS = {".md", ".txt", ".html", ".css", ".yaml", ".yml", ".tpl", ".json", ".toml"}
_PROGRAMS = {".py", ".js", ".go", ".c", ".sh", ""}
_SKIPPED = (
    "requirements/",
    "LICENSE",
    "hack/words.py",
    "tests/unit/hack/test_words.py",
    "tests/unit/embedded/data/",
    "tests/data/",
)
_ALLOWED = "words: allow"

Finding = tuple[Path, int, str, str]  # file, line, the word as found, what to write instead


def in_prose(path: Path, line: int, text: str) -> Iterator[Finding]:
    """Findings of a text that begins in a line."""
    for match in _PROSE.finditer(text):
        word = next(word for number, word in enumerate(INSTEAD) if match[f"w{number}"])
        yield path, line + text.count("\n", 0, match.start()), match.group(), INSTEAD[word]


def in_name(path: Path, line: int, name: str) -> Iterator[Finding]:
    """Findings of an identifier; `look_up` and `lookUp` are allowed."""
    parts = [part.lower() for part in _PARTS.findall(name)]
    for part, following in pairwise([*parts, ""]):
        word = _NAME_WORDS.get(part)
        if word and not (word == "look" and following == "up"):
            yield path, line, name, INSTEAD[word]


def in_python(path: Path, text: str, *, product: bool) -> Iterator[Finding]:
    """Findings of a module: its names, comments and docstrings, and in product code all other strings."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from in_prose(path, token.start[0], token.string)
    for node in ast.walk(ast.parse(text)):
        for line, name in _names(node):
            yield from in_name(path, line, name)
        if product and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from in_prose(path, node.lineno, node.value)
        elif not product and (docstring := _docstring(node)):
            yield from in_prose(path, docstring.lineno, docstring.value)


def _names(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.lineno, node.name
    elif isinstance(node, ast.arg):
        yield node.lineno, node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.lineno, node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.lineno, node.attr


def _docstring(node: ast.AST) -> Any:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return first.value
    return None


def in_file(path: Path) -> list[Finding]:
    """Findings of a file, in order, each word of a line once."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return []
    lines = text.split("\n")
    if path.suffix == ".py":
        found: Iterable[Finding] = in_python(path, text, product=path.parts[0] not in {"tests", "benchmarks"})
    else:
        found = in_prose(path, 1, text)
    return sorted({each for each in found if _ALLOWED not in lines[each[1] - 1]}, key=lambda each: each[1:])


def _files(arguments: Iterable[str]) -> list[Path]:
    paths = [Path(each) for each in arguments]
    if not paths:
        listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S607 - git of the PATH
        paths = [Path(each) for each in listed]
    files = [each for path in paths for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    readable = [each for each in files if each.suffix in _DOCUMENTS | _PROGRAMS or each.stem == "Dockerfile"]
    return [each for each in readable if each.is_file() and not each.as_posix().startswith(_SKIPPED)]


def main(arguments: list[str]) -> int:
    """The command."""
    files = _files(each for each in arguments if not each.startswith("-"))
    found = [finding for file in files for finding in in_file(file)]
    if "--count" in arguments:
        for place, number in sorted(Counter(each[0].parts[0] for each in found).items()):
            print(f"{number:6} {place}")
    else:
        for path, line, what, instead in found:
            print(f"{path}:{line}: {what!r}: write {instead}")
    print(f"{len(found)} findings in {len(files)} files" if found else f"words: nothing found in {len(files)} files")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
