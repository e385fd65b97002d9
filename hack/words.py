"""Refuses words that a reader has to learn: names, comments, docstrings, messages and documents use the field's words.

CONTRIBUTING.md has the glossary. Usage: python hack/words.py [PATH ...]; without paths every tracked file is read.
Exit code 1 where something is found, each with its place; `--count` prints the number of findings for each folder.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

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
    "look": r"look(?! up\b)|looks(?! up\b)|looked(?! up\b)|looking(?! up\b)",
    "room": "room|rooms",
    "house": "house|houses|housekeep",
    "door": "door|doors",
    "somebody": "somebody|nobody|anybody",
    "bear": "bear|bears|borne",
    "mend": "mend|mends|mended|mending",
    "is no": r"is no(?= (?!longer\b|more\b|later\b|earlier\b|less\b|older\b|larger\b|such\b)[a-z`])",
}
_PROSE = re.compile(
    "|".join(rf"(?P<w{number}>\b(?:{_FORMS.get(word, word)})\b)" for number, word in enumerate(INSTEAD)), re.IGNORECASE
)
_NAME_WORDS = {
    form: word
    for word in INSTEAD
    if " " not in word
    for form in re.sub(r"\(\?![^)]*\)", "", _FORMS.get(word, word)).split("|")
}
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_TEXT_FILES = {".md", ".yaml", ".yml", ".tpl", ".txt", ".js", ".css", ".html", ".toml", ".sh", ""}
_SKIPPED = ("requirements/", "LICENSE", "hack/words.py", "crds/", "tests/unit/embedded/data/", "tests/data/")
_IGNORED = "words: allow"  # in a line that quotes what others wrote

Finding = tuple[Path, int, str, str]


def in_prose(path: Path, line: int, text: str) -> Iterator[Finding]:
    """Findings of a text that begins in a line."""
    for match in _PROSE.finditer(text):
        word = next(word for number, word in enumerate(INSTEAD) if match[f"w{number}"])
        yield path, line + text.count("\n", 0, match.start()), match.group(), INSTEAD[word]


def in_name(path: Path, line: int, name: str) -> Iterator[Finding]:
    """Findings of an identifier."""
    for part in _PARTS.findall(name):
        if word := _NAME_WORDS.get(part.lower()):
            yield path, line, name, INSTEAD[word]


def in_python(path: Path, text: str, *, product: bool) -> Iterator[Finding]:
    """Findings of a module: its names, comments and docstrings; of product code every text."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from in_prose(path, token.start[0], token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from in_name(path, node.lineno, node.name)
        elif isinstance(node, ast.arg):
            yield from in_name(path, node.lineno, node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield from in_name(path, node.lineno, node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from in_name(path, node.lineno, node.attr)
    for line, prose in _texts(ast.parse(text), everything=product):
        yield from in_prose(path, line, prose)


def _texts(tree: ast.AST, *, everything: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if everything and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif not everything and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.value.lineno, first.value.value


def in_file(path: Path) -> Iterator[Finding]:
    """Findings of a file."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return
    lines = text.split("\n")
    if path.suffix == ".py":
        found: Iterable[Finding] = in_python(path, text, product=path.parts[0] not in {"tests", "benchmarks"})
    else:
        found = in_prose(path, 1, text)
    yield from (each for each in found if _IGNORED not in lines[each[1] - 1])


def main(arguments: list[str]) -> int:
    """The command."""
    counting = "--count" in arguments
    paths = [Path(each) for each in arguments if not each.startswith("-")]
    if not paths:
        listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S607
        paths = [Path(each) for each in listed if not each.startswith(_SKIPPED)]
    files = [each for path in paths for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    found = [
        finding
        for file in files
        if file.suffix in _TEXT_FILES | {".py"} and file.is_file()
        for finding in in_file(file)
    ]
    if counting:
        for place, number in sorted(Counter(each[0].parts[0] for each in found).items()):
            print(f"{number:6} {place}")
    else:
        for path, line, what, instead in found:
            print(f"{path}:{line}: {what!r}: write {instead}")
    print(f"{len(found)} findings in {len(files)} files" if found else f"words: nothing found in {len(files)} files")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
