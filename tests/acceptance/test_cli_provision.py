"""`chaski provision` and `chaski deprovision` with moto's server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from acceptance.cli_process import Finished, chaski
from chaski_aws.names import queue_name
from chaski_aws.provision.clients import BotoAws
from chaski_core.route.model import Route
from chaski_core.route.resolved_document import load_resolved
from support.aws.moto_server import MotoServer
from support.operator.provisioning import boto, route_of

pytestmark = [pytest.mark.timeout(180), pytest.mark.landing]
KEY = "helpdesk/conversations"
TWO_MORE = route_of(queues=[{"name": "messages", "partitions": 2}])


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotoAws]:
    """An empty account; the environment variables name it."""
    server = MotoServer()
    for name in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHASKI_OWNER", "tests")
    yield boto(server.url, server.url)
    server.stop()


def write(folder: Path, route: Route) -> Path:
    """A route file."""
    file = folder / "route.yaml"
    file.write_text(yaml.safe_dump(dict(route.document)))
    return file


def queues(aws: BotoAws) -> list[str]:
    """Names of all queues of the account."""
    return sorted(url.rpartition("/")[2] for url in aws.call("sqs", "ListQueues", {}).get("QueueUrls", []))


async def provisioned(file: Path, folder: Path, *more: str) -> Finished:
    """Runs `chaski provision`."""
    return await chaski("provision", file, "-o", folder / "resolved.yaml", *more)


async def test_a_route_file_becomes_a_resolved_route(aws: BotoAws, tmp_path: Path) -> None:
    """Planned without a change, done, up to date; a new generation is reported; workers can read the file."""
    file = write(tmp_path, route_of())
    planned = await provisioned(file, tmp_path, "--dry-run", "--output", "json")
    assert planned.code == 0, planned.err
    (route,) = planned.json()["routes"]
    assert len(route["actions"]) == 8
    assert queues(aws) == []
    assert not (tmp_path / "resolved.yaml").exists()

    done = await provisioned(file, tmp_path, "--tag", "team=helpdesk")
    assert done.code == 0, done.err
    assert f"{KEY}: 8 done" in done.out
    (resolved,) = load_resolved((tmp_path / "resolved.yaml").read_text())
    assert resolved.route.key == KEY
    assert len(queues(aws)) == 5

    again = await provisioned(file, tmp_path, "--output", "json")
    assert [each["actions"] for each in again.json()["routes"]] == [[]]

    changed = await provisioned(write(tmp_path, TWO_MORE), tmp_path, "--no-wait")
    assert changed.code == 0, changed.err
    assert "take no new messages" in changed.out
    (resolved,) = load_resolved((tmp_path / "resolved.yaml").read_text())
    assert [each.number for each in resolved.generations] == [1, 2]


async def test_a_route_that_fails_does_not_block_another(aws: BotoAws, tmp_path: Path) -> None:
    """The error has a next step; the other route is created and written; exit code 1."""
    name = queue_name(route_of(), "tests", "urgent", 1, 0)
    aws.call("sqs", "CreateQueue", {"QueueName": name, "Attributes": {"FifoQueue": "true"}})
    file = tmp_path / "route.yaml"
    file.write_text(yaml.safe_dump_all([dict(route_of().document), dict(route_of(name="fine").document)]))
    ran = await provisioned(file, tmp_path)
    assert ran.code == 1
    assert name in ran.err
    assert "next: rename the route" in ran.err
    (resolved,) = load_resolved((tmp_path / "resolved.yaml").read_text())
    assert resolved.route.name == "fine"
    assert name in queues(aws)


async def test_nothing_is_deleted_without_consent(aws: BotoAws, tmp_path: Path) -> None:
    """Not without --yes outside a terminal, and not without --force if messages would be lost."""
    file = write(tmp_path, route_of())
    await provisioned(file, tmp_path)
    (resolved,) = load_resolved((tmp_path / "resolved.yaml").read_text())
    asked = await chaski("deprovision", file)
    assert (asked.code, len(queues(aws))) == (2, 5)
    dry = await chaski("deprovision", file, "--dry-run", "--output", "json")
    assert [len(each["actions"]) for each in dry.json()["routes"]] == [7]
    message = {"MessageBody": "{}", "MessageGroupId": "g", "MessageDeduplicationId": "1"}
    aws.call("sqs", "SendMessage", {"QueueUrl": resolved.current.queues["urgent"][0], **message})
    refused = await chaski("deprovision", file, "--yes")
    assert (refused.code, len(queues(aws))) == (1, 5)
    assert "1 messages" in refused.err
    kept = await chaski("deprovision", file, "--yes", "--force", "--keep-dead-letters")
    assert (kept.code, queues(aws)) == (0, []), kept.err
    gone = await chaski("deprovision", file, "--yes")
    assert gone.code == 0, gone.err
    assert "nothing to delete" in (await chaski("deprovision", file, "--yes")).out


async def test_a_missing_region_is_an_error_with_a_next_step(
    aws: BotoAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a traceback."""
    assert queues(aws) == []
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    ran = await provisioned(write(tmp_path, route_of()), tmp_path)
    assert ran.code == 1
    assert "next: set AWS_DEFAULT_REGION" in ran.err


@pytest.mark.promise(7)
@pytest.mark.parametrize("command", ["provision", "deprovision"])
async def test_there_is_no_default_owner(
    aws: BotoAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Resources of another owner are not touched."""
    file = write(tmp_path, route_of())
    monkeypatch.delenv("CHASKI_OWNER")
    nameless = await chaski(command, file)
    assert (nameless.code, queues(aws)) == (2, [])
    assert "--owner is missing" in nameless.err
    assert (await provisioned(file, tmp_path, "--owner", "ann")).code == 0
    theirs = queues(aws)
    more = ["--yes"] if command == "deprovision" else ["-o", tmp_path / "ben.yaml"]
    other = await chaski(command, file, "--owner", "ben", *more)
    assert other.code == 0
    assert set(theirs) <= set(queues(aws))
    # Where the file names queues of the other owner, they are not left behind.
    if command == "provision":
        refused = await provisioned(file, tmp_path, "--owner", "ben")
        assert refused.code == 1
        output = " ".join(refused.err.split()) + " ".join(refused.out.split())
        assert 'set it to "ann" to keep using these' in output
