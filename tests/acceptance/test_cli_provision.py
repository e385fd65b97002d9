"""`chaski provision` and `chaski deprovision` against moto's server, as their users run them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from acceptance.cli_process import Finished, chaski
from chaski_aws.provision.clients import BotoAws
from chaski_core.route.model import Route
from chaski_core.route.resolved import queue_name
from chaski_core.route.resolved_document import load_resolved
from support.aws.moto_server import MotoServer
from support.operator.provisioning import boto, route_of

pytestmark = pytest.mark.timeout(180)
KEY = "helpdesk/conversations"
TWO_MORE = route_of(queues=[{"name": "messages", "partitions": 2}])


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotoAws]:
    """An empty account, to which the environment points."""
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
    """Runs the command; what it wrote to standard error is for people."""
    return await chaski("provision", file, "-o", folder / "resolved.yaml", *more)


async def test_a_route_file_becomes_a_resolved_route(aws: BotoAws, tmp_path: Path) -> None:
    """Planned without a change, done, found done; another map is told of; the file is what workers read."""
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
    assert "kept until they are empty" in changed.out
    (resolved,) = load_resolved((tmp_path / "resolved.yaml").read_text())
    assert [each.number for each in resolved.generations] == [1, 2]


async def test_one_route_that_can_not_be_made_does_not_hold_up_the_other(aws: BotoAws, tmp_path: Path) -> None:
    """It is named with what to do; the other one is made and written; the exit code says that not all is well."""
    name = queue_name(route_of(), "urgent", 1, 0)
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
    """Not without --yes where nobody can be asked, and not where messages would be lost, unless forced."""
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
    assert "nothing of it is there" in (await chaski("deprovision", file, "--yes")).out


async def test_a_missing_region_is_said_in_a_sentence(
    aws: BotoAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a traceback."""
    assert queues(aws) == []
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    ran = await provisioned(write(tmp_path, route_of()), tmp_path)
    assert ran.code == 1
    assert "next: set AWS_DEFAULT_REGION" in ran.err


@pytest.mark.promise(7)
@pytest.mark.parametrize("command", ["provision", "deprovision"])
async def test_there_is_no_owner_that_two_people_share_by_accident(
    aws: BotoAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Each names an installation, and what belongs to another one is left alone."""
    file = write(tmp_path, route_of())
    monkeypatch.delenv("CHASKI_OWNER")
    nameless = await chaski(command, file)
    assert (nameless.code, queues(aws)) == (2, [])
    assert "--owner is missing" in nameless.err
    assert (await provisioned(file, tmp_path, "--owner", "ann")).code == 0
    theirs = queues(aws)
    other = await chaski(command, file, "--owner", "ben", *(["--yes"] if command == "deprovision" else []))
    assert other.code == 1
    told = " ".join(other.err.split()) + " ".join(other.out.split())
    assert 'set it to "ann" to keep using these' in told
    assert queues(aws) == theirs
