"""What the documents tell people to do on AWS and on a cluster is safe, and names what is there."""

import re
from pathlib import Path

import pytest

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
    """Anybody with a namespace could then have the role of workers, which reaches all routes of the account."""
    trusted = {
        (path.name, subject)
        for path in DOCUMENTS
        for subject in re.findall(r"serviceaccount:([^:\s`\"]*):", path.read_text(encoding="utf-8"))
    }
    assert ("install.md", "helpdesk") in trusted
    assert [each for each in trusted if not re.fullmatch(r"[a-z0-9-]+", each[1])] == []


def test_no_document_names_an_image_that_the_project_does_not_own() -> None:
    """Whose image runs has the operator's rights; an image of ours always has a registry in front."""
    named = re.compile(r"(?<![\w./-])chaski/(?:operator|ingest|worker|tools)\b(?!-)")
    assert [(path.name, text) for path in DOCUMENTS for text in named.findall(path.read_text(encoding="utf-8"))] == []


def test_the_runbooks_say_how_to_get_the_route_that_their_commands_read() -> None:
    """By the names that the operator gives, and no command of theirs reads the folder of a `chaski dev` by default."""
    text = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    key = RESOLVED_KEY.replace(".", r"\.")
    got = f"kubectl get configmap {config_map_name('ROUTE')} -n NAMESPACE -o jsonpath='{{.data.{key}}}' > resolved.yaml"
    assert got in text
    commands = re.findall(r"chaski (?:dead-letters (?:list|replay|discard)|ledger|trace) [^`\n]*", text)
    assert len(commands) >= 4
    assert [command for command in commands if "--route resolved.yaml" not in command] == []
