"""Instructions in the documentation are safe, and its names, links and paths exist."""

import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from chaski_cli.app import make_app
from chaski_cli.commands.kubectl import make_kubectl_app
from chaski_cli.route_files import run_validate
from chaski_operator.manifests.names import config_map_name
from chaski_operator.manifests.worker_pod import RESOLVED_KEY

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path
    for folder in ("docs", "charts", "examples", "README.md")
    for path in (ROOT / folder, *sorted((ROOT / folder).rglob("*")))
    if path.suffix in {".md", ".json", ".yaml", ".tpl", ".txt"}
]


@pytest.mark.promise(14)
def test_no_document_has_a_role_trust_every_namespace() -> None:
    """Otherwise every user with a namespace could get the workers' role, which has access to all routes of the account."""
    trusted = {
        (path.name, subject)
        for path in DOCUMENTS
        for subject in re.findall(r"serviceaccount:([^:\s`\"]*):", path.read_text(encoding="utf-8"))
    }
    assert ("install.md", "helpdesk") in trusted
    assert [each for each in trusted if not re.fullmatch(r"[a-z0-9-]+", each[1])] == []


def test_no_document_names_an_image_that_the_project_does_not_own() -> None:
    """The owner of an image gets the operator's permissions; image names in the documentation start with a registry."""
    named = re.compile(r"(?<![\w./-])chaski/(?:operator|ingest|worker|tools)\b(?!-)")
    assert [(path.name, text) for path in DOCUMENTS for text in named.findall(path.read_text(encoding="utf-8"))] == []


def test_the_runbooks_describe_how_to_get_the_route_that_their_commands_read() -> None:
    """By the operator's names; and no command reads the data folder of `chaski dev` by default."""
    text = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    key = RESOLVED_KEY.replace(".", r"\.")
    got = f"kubectl get configmap {config_map_name('ROUTE')} -n NAMESPACE -o jsonpath='{{.data.{key}}}' > resolved.yaml"
    assert got in text
    commands = re.findall(r"chaski (?:dead-letters (?:list|replay|discard)|ledger|trace) [^`\n]*", text)
    assert len(commands) >= 4
    assert [command for command in commands if "--resolved resolved.yaml" not in command] == []


def documented_commands() -> list[tuple[str, str]]:
    """Page and command: each line of a code block, and in the runbooks also each text in backquotes, that starts with it."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        lines = [
            line
            for block in re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text)
            for line in block.replace("\\\n", " ").splitlines()
        ]
        if page.name == "runbooks.md":
            lines += re.findall(r"`((?:kubectl )?chaski(?: [^`\s]+){3,})`", text)
        lines = [re.sub(r"^\$ ", "", line.strip()) for line in lines]
        found += [(page.name, line) for line in lines if re.match(r"(kubectl )?chaski [a-z]", line)]
    return found


@pytest.mark.parametrize(("page", "line"), documented_commands())
def test_every_command_of_the_documentation_is_accepted(page: str, line: str) -> None:
    """By its parser: a renamed command or option breaks the pages and runbooks silently. Nothing is run."""
    words = shlex.split(line, comments=True)
    words = words[: next((n for n, word in enumerate(words) if word in ("|", ";") or word.startswith(">")), len(words))]
    is_plugin = words[0] == "kubectl"
    app = make_kubectl_app() if is_plugin else make_app(words[1:])
    command, words = typer.main.get_command(app), words[2 if is_plugin else 1 :]
    name = ""
    while isinstance(command, typer.core.TyperGroup):
        name, *words = words
        assert name in command.commands, f"{page}: {line}"
        command = command.commands[name]
    command.make_context(name, words)


def test_every_route_that_a_document_shows_has_producers() -> None:
    """Applied to a cluster as it is, a route without any is not ready."""
    chart = yaml.safe_load((ROOT / "charts" / "chaski" / "Chart.yaml").read_text(encoding="utf-8"))
    texts = [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.yaml"))]
    texts += [("crdsExamples", yaml.safe_dump_all(yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])))]
    for page in sorted((ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        texts += [(page.name, block) for block in blocks if "kind: ChaskiRoute" in block]
    shown = [(name, document) for name, text in texts for document in yaml.safe_load_all(text)]
    routes = [(name, document["spec"]) for name, document in shown if document["kind"] == "ChaskiRoute"]
    assert len(routes) >= 8
    assert [name for name, spec in routes if not spec.get("producers")] == []


def shown_objects() -> list[tuple[str, dict[str, Any]]]:
    """Page and document: the ChaskiRoutes, ChaskiReplays and ChaskiPolicies that pages and examples show whole, with a spec."""
    texts = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        blocks = re.findall(r"(?ms)^( *)```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"))
        texts += [(page.name, textwrap.dedent(block)) for _, block in blocks]
    texts += [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").rglob("*.yaml"))]
    documents = [
        (name, document) for name, text in texts if "kind: Chaski" in text for document in yaml.safe_load_all(text)
    ]
    return [
        (name, document) for name, document in documents if document["kind"].startswith("Chaski") and "spec" in document
    ]


@pytest.mark.parametrize(("page", "document"), shown_objects())
def test_every_object_that_a_page_shows_is_valid(page: str, document: dict[str, Any], tmp_path: Path) -> None:
    """By `chaski validate`, as people will copy it."""
    file = tmp_path / page.replace(".md", ".yaml")
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert run_validate([file], (), as_json=False) == 0


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """Paths from the top folder, and the names of test modules."""
    text = page.read_text(encoding="utf-8")
    roots = "aws|benchmarks|charts|cli|client|console|core|crds|embedded|examples|hack|ingest|operator|replay|runtime|tests|worker"
    paths = {each for each in re.findall(rf"`((?:{roots})/[\w./-]+)`", text) if "*" not in each}
    modules = set(re.findall(r"`(test_\w+\.py)`", text))
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    assert [name for name in sorted(modules) if not any((ROOT / "tests").rglob(name))] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub writes them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda path: path.name,
)
def test_every_link_to_a_page_and_its_heading_is_right(page: Path) -> None:
    """A renamed heading breaks the links to it silently."""
    links = re.findall(r"\]\((?!https?:)([^)\s#]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8"))
    for target, anchor in links:
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def section(title: str) -> str:
    """The text below a heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.+?)(?=^## |\Z)", text)
    assert found is not None, title
    return found[1]


def test_the_map_of_the_code_names_files_that_exist() -> None:
    """Each question has one folder and at most two modules."""
    rows = re.findall(r"(?m)^\| where (.+?) \| `([^`]+)` \| (.+) \|$", section("Map of the code"))
    assert len(rows) >= 12
    for question, folder, modules in rows:
        files = re.findall(r"`([^`]+\.py)`", modules)
        assert 1 <= len(files) <= 2, question
        assert (ROOT / folder).is_dir(), question
        assert [file for file in files if not (ROOT / file).is_file()] == [], question


def test_the_layout_names_every_root_and_sub_package() -> None:
    """A newcomer finds each folder in the table, and each folder of the table in the tree."""
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| [^|]+ \| (.+) \|$", section("Repository layout")))
    packages = {path.parent.name: path for path in ROOT.glob("*/chaski_*") if path.is_dir()}
    assert set(rows) == set(packages)
    for root, package in packages.items():
        named = set(re.findall(r"`(\w+)`", rows[root]))
        present = {path.name for path in package.rglob("*") if (path / "__init__.py").is_file()}
        assert named <= present, root
        assert present <= named or "…" in rows[root], root
