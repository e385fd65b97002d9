"""The command line and environment of the operator, and the settings that result."""

import json
from pathlib import Path

import pytest
import typer

from chaski_operator.__main__ import main
from chaski_operator.command.arguments import Arguments
from chaski_operator.command.configuration import settings_of
from chaski_operator.command.pod_defaults import pod_defaults
from chaski_operator.settings import OperatorSettings, PodSettings, ToolPods
from chaski_runtime.process.command import add_command, run_app, service_app


def settings(*arguments: str, **environment: str) -> OperatorSettings:
    """The settings in a Pod of the namespace `chaski`."""
    made: list[OperatorSettings] = []

    def run(given: Arguments) -> int:
        made.append(settings_of(given, environment, "chaski"))
        return 0

    app = service_app("chaski-operator")
    add_command(app, Arguments, run, name="chaski-operator", description="")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        assert run_app(app, arguments) == 0
    return made[0]


def test_defaults_match_the_documentation() -> None:
    """All namespaces; the Lease in the Pod's own."""
    made = settings("--worker-image", "i:1")
    assert (made.namespaces, made.installation, made.intervals.resync_seconds) == ((), "", 300)
    assert (made.intervals.down_window_seconds, made.intervals.unreachable_seconds) == (300, 600)
    assert (made.lease.namespace, made.lease.name, made.lease.duration_seconds) == ("chaski", "chaski-operator", 15)
    assert (made.lease.renew_seconds, made.lease.call_seconds, made.lease.deadline_seconds) == (2, 3, 10)
    assert made.workers.environment == {}
    assert not made.remove_additions
    assert made.producers_required


def test_a_shorter_lease_is_given_up_and_renewed_sooner() -> None:
    """In the same proportions."""
    lease = settings("--worker-image", "i", "--lease-seconds", "6", "--unreachable-seconds", "90").lease
    assert (lease.renew_seconds, lease.call_seconds, lease.deadline_seconds) == (0.8, 1.2, 4)


def test_peers_that_may_read_metrics_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Of workers and of replays; any other text is refused with what it should be."""
    peers = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]
    arguments = ("--worker-image", "i", "--tools-image", "t", "--worker-metrics-from")
    made = settings(*arguments, json.dumps(peers))
    assert made.tools is not None
    assert list(made.workers.metrics_from) == list(made.tools.metrics_from) == peers
    assert settings("--worker-image", "i").workers.metrics_from == ()
    for wrong in ("a=b", '{"a": 1}', "[1]"):
        assert main([*arguments, wrong]) == 2
        assert "JSON" in capsys.readouterr().err


def test_environment_sets_flags_and_a_flag_takes_precedence() -> None:
    """Lists are separated by commas; a flag replaces the whole list."""
    environment = {
        "CHASKI_OPERATOR_WORKER_IMAGE": "i:1",
        "CHASKI_OPERATOR_NAMESPACE": "a,b",
        "CHASKI_OPERATOR_WORKER_ENV": "X=1,Y=2",
        "CHASKI_OPERATOR_RESYNC_SECONDS": "60",
        "CHASKI_OPERATOR_SCALE_DOWN_WINDOW_SECONDS": "20",
        "CHASKI_OPERATOR_WORKER_NETWORK_POLICY": "true",
        "CHASKI_OPERATOR_REMOVE_ADDITIONS": "true",
        "CHASKI_OPERATOR_PRODUCERS_REQUIRED": "false",
    }
    made = settings(**environment)
    assert (made.workers.image, made.namespaces, made.intervals.resync_seconds) == ("i:1", ("a", "b"), 60)
    assert dict(made.workers.environment) == {"X": "1", "Y": "2"}
    assert made.intervals.down_window_seconds == 20
    assert made.workers.network_policy
    assert made.remove_additions
    assert not made.producers_required
    made = settings("--namespace", "c", "--namespace", "d", "--worker-image", "i:2", **environment)
    assert (made.workers.image, made.namespaces) == ("i:2", ("c", "d"))


def test_workers_get_region_and_endpoints_but_no_credentials() -> None:
    """They have their own."""
    given = {
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_SQS": "http://sqs",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    made = settings("--worker-image", "i", "--worker-env", "A=b=c", **given)
    assert dict(made.workers.environment) == {
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_SQS": "http://sqs",
        "A": "b=c",
    }


def test_user_groups_and_dots_are_given_to_workers_and_replays() -> None:
    """`none` leaves the choice to the cluster."""
    made = settings("--worker-image", "i", "--tools-image", "t")
    assert made.workers.common == PodSettings(65532, 65532, 65532, ndots=1)
    none = {"CHASKI_OPERATOR_WORKER_RUN_AS_USER": "none", "CHASKI_OPERATOR_WORKER_FS_GROUP": "none"}
    made = settings(
        "--worker-image", "i", "--tools-image", "t", "--worker-run-as-group", "0", "--worker-ndots", "3", **none
    )
    assert made.workers.common == PodSettings(None, 0, None, ndots=3)
    assert made.tools is not None
    assert made.tools.common == made.workers.common


def test_replays_share_the_workers_environment_but_not_their_role() -> None:
    """Without an image, replays are not configured."""
    assert settings("--worker-image", "i").tools is None
    given = (
        "--worker-image",
        "i",
        "--worker-env",
        "A=b",
        "--worker-pull-secret",
        "s",
        "--worker-role-arn",
        "arn:worker",
    )
    tools = settings(*given, "--tools-image", "t:1", "--tools-role-arn", "arn:replay").tools
    assert tools == ToolPods("t:1", pull_secrets=("s",), role_arn="arn:replay", environment={"A": "b"})


def test_defaults_of_pods_are_given_as_json() -> None:
    """Those of workers and of replays; without resources, requests are those of the documentation."""
    made = settings("--worker-image", "i", "--tools-image", "t", "--worker-pod", '{"priorityClassName": "p"}')
    assert made.workers.defaults == {
        "priorityClassName": "p",
        "resources": {"requests": {"cpu": "100m", "memory": "160Mi"}},
    }
    assert made.tools is not None
    assert made.tools.defaults == made.workers.defaults
    assert settings("--worker-image", "i", "--worker-pod", '{"resources": {}}').workers.defaults == {"resources": {}}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "not JSON"),
        ("[]", "an object of JSON"),
        ('{"hostNetwork": true}', "hostNetwork is not one of"),
        ('{"tolerations": {}}', "tolerations must be a list"),
        ('{"labels": {"a": 1}}', "labels.a must be a text"),
        ('{"labels": {"chaski.dev/queue": "a"}}', "chaski.dev/queue belongs to Chaski"),
        ('{"topologySpread": [{"labelSelector": {}}]}', "without labelSelector"),
    ],
)
def test_a_wrong_default_of_pods_is_refused_with_its_name(text: str, named: str) -> None:
    """Before the operator starts, not when it applies the first Deployment."""
    with pytest.raises(typer.BadParameter, match=named):
        pod_defaults(text)


def test_key_and_tags_are_those_of_all_queues_and_tables() -> None:
    """Without a key, keys that are found are kept."""
    assert settings("--worker-image", "i").kms_key is None
    key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"
    made = settings("--worker-image", "i", "--kms-key-arn", key, "--aws-tag", "team=a", "--aws-tag", "cost-center=4711")
    assert made.kms_key == key
    assert made.aws_tags == {"team": "a", "cost-center": "4711"}
    assert settings("--worker-image", "i", "--aws-tag-label", "team").aws_tag_labels == ("team",)


def test_namespaces_have_roles() -> None:
    """By flags, and by an environment variable."""
    given = ("--worker-image", "i", "--tools-image", "t", "--worker-role", "a=arn:a", "--worker-role", "b=arn:b")
    made = settings(*given, CHASKI_OPERATOR_TOOLS_ROLE="a=arn:ra,b=arn:rb")
    assert made.workers.role_arns == {"a": "arn:a", "b": "arn:b"}
    assert made.tools is not None
    assert made.tools.role_arns == {"a": "arn:ra", "b": "arn:rb"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--worker-image", "i", "--worker-env", "novalue"],
        ["--worker-image", "i", "--resync-seconds", "-1"],
        ["--worker-image", "i", "--kms-key-arn", "alias/company-key"],
        ["--worker-image", "i", "--aws-tag", "chaski.dev/owner=other"],
        ["--worker-image", "i", "--aws-tag-label", "chaski.dev/owner"],
        ["--worker-image", "i", "--aws-tag", "novalue"],
        ["--worker-image", "i", "--resync-seconds", "nan"],
        ["--worker-image", "i", "--resync-seconds", "inf"],
        ["--worker-image", "i", "--scale-down-window-seconds", "3601"],
        ["--worker-image", "i", "--unreachable-seconds", "9"],
        ["--worker-image", "i", "--metrics-port", "x"],
        ["--worker-image", "i", "--worker-run-as-user", "0"],
        ["--worker-image", "i", "--worker-run-as-user", "nobody"],
        ["--worker-image", "i", "--worker-fs-group", "2147483648"],
        ["--worker-image", "i", "--worker-ndots", "16"],
    ],
    ids=str,
)
def test_invalid_flags_are_rejected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with the flag's name."""
    assert main(arguments) == 2
    assert "--" in capsys.readouterr().err


def test_missing_api_server_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, with the kubeconfig's path."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert main(["--worker-image", "i"]) == 2
    assert "absent" in capsys.readouterr().err
