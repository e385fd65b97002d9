"""Checks the commit messages of this repository: `component[, component]: imperative`, at most 72 characters, and a body.

CONTRIBUTING.md describes the form. Commits up to BASE are older than the rule. Where BASE is not known (an export without history,
a shallow clone), the check is skipped with a line that says so. Exit code 1 where a message breaks a rule.
"""

import re
import subprocess
import sys
from collections.abc import Iterator

BASE = "edfeed94a47f164d7f676cd3e0e08ee124d861b1"
LONGEST_SUBJECT = 72
ROOTS = {"core", "runtime", "aws", "embedded", "replay", "ingest", "worker", "operator", "console", "client", "cli"}
COMPONENTS = ROOTS | {"crds", "chart", "docs", "examples", "tests", "benchmarks", "hack", "build", "ci", "all"}
_SUBJECT = re.compile(r"(?P<components>[a-z]+(?:, [a-z]+)*): (?P<change>\S.*)")
# Base forms that end like a participle.
_IMPERATIVES = {"bring", "embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "string", "succeed"}


def faults(message: str) -> Iterator[str]:
    """The rules that a commit message breaks."""
    subject, _, body = message.partition("\n")
    if len(subject) > LONGEST_SUBJECT:
        yield f"the subject has {len(subject)} characters, at most {LONGEST_SUBJECT} are allowed"
    if subject.endswith("."):
        yield "the subject ends with a full stop"
    if not (match := _SUBJECT.fullmatch(subject)):
        yield "the subject is not of the form `component: imperative`"
    else:
        unknown = sorted(set(match["components"].split(", ")) - COMPONENTS)
        if unknown:
            yield f"unknown component {', '.join(unknown)}; known are {', '.join(sorted(COMPONENTS))}"
        first = match["change"].split()[0]
        if first[0].isupper():
            yield f"{first!r} after the colon is not in lower case"
        if re.search("(ed|ing)$", first.lower()) and first.lower() not in _IMPERATIVES:
            yield f"{first!r} after the colon is not an imperative"
    if not body.strip():
        yield "the body is empty; it says why the change is made"


def messages() -> Iterator[tuple[str, str]]:
    """Short hash and message of each commit after BASE that is not a merge.

    Raises:
        LookupError: The history is not available.
    """
    if _git("rev-parse", "--quiet", "--verify", f"{BASE}^{{commit}}") is None:
        raise LookupError(f"commit {BASE[:7]} is not available (a shallow clone, or no git history)")
    log = _git("log", "--no-merges", "--format=%h%x1f%B%x1e", f"{BASE}..HEAD") or ""
    for record in log.split("\x1e"):
        if record.strip():
            name, _, message = record.strip().partition("\x1f")
            yield name, message.strip()


def _git(*arguments: str) -> str | None:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S607 - git of the PATH
    except FileNotFoundError:
        return None
    return None if ran.returncode else ran.stdout


def main() -> int:
    """The command."""
    try:
        checked = dict(messages())
    except LookupError as error:
        print(f"commits: skipped: {error}")
        return 0
    found = [(name, message, fault) for name, message in checked.items() for fault in faults(message)]
    for name, message, fault in found:
        print(f"{name} {message.splitlines()[0] if message else ''!r}: {fault}")
    print(f"{len(found)} findings in {len(checked)} commits" if found else f"commits: {len(checked)} checked")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
