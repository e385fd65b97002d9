"""Kubeconfig files are merged as kubectl merges them, and what can't be used is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from chaski_runtime.kube.kubeconfig import read_context


def config(name: str, server: str, user: dict[str, Any], **top: Any) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    } | top


def write(file: Path, document: Any) -> Path:
    """A file in a folder of its own."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(document) if document is not None else "")
    return file


def test_what_the_first_file_sets_counts(tmp_path: Path) -> None:
    """The current context, and entries of the same name; relative paths are those of the file with the entry."""
    first = write(tmp_path / "1" / "config", config("a", "https://first", {"tokenFile": "t"}))
    named = config("a", "https://second", {}, **{"current-context": "a"})
    second = write(tmp_path / "2" / "config", named)
    third = write(tmp_path / "3" / "config", config("b", "https://third", {}, **{"current-context": "b"}))
    empty = write(tmp_path / "4" / "config", None)
    context = read_context([tmp_path / "absent", empty, first, second, third])
    assert dict(context.cluster) == {"server": "https://first", "certificate-authority": str(tmp_path / "1" / "ca.crt")}
    assert dict(context.user) == {"tokenFile": str(tmp_path / "1" / "t")}
    assert context.namespace == "default"


def test_the_context_of_one_file_may_use_entries_of_another(tmp_path: Path) -> None:
    """As with a file for the clusters and one for one's credentials."""
    first = write(tmp_path / "1" / "config", {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "b", "user": "b", "namespace": "n"}}],
    })  # fmt: skip
    second = write(tmp_path / "2" / "config", config("b", "https://b", {"token": "secret"}))
    context = read_context([first, second])
    assert (context.cluster["server"], context.user["token"], context.namespace) == ("https://b", "secret", "n")


def test_a_context_without_a_user_is_anonymous(tmp_path: Path) -> None:
    """And empty values are absent ones."""
    document = config("a", "https://a", {}, **{"current-context": "a"})
    document["contexts"][0]["context"] = {"cluster": "a", "namespace": "n"}
    document["clusters"][0]["cluster"]["certificate-authority"] = ""
    context = read_context([write(tmp_path / "1" / "config", document)])
    assert (dict(context.cluster), dict(context.user)) == ({"server": "https://a"}, {})


@pytest.mark.parametrize(
    ("command", "wanted"), [("aws", "aws"), ("./bin/login", "bin/login"), ("/bin/true", "/bin/true")]
)
def test_a_plugin_with_a_relative_path_is_beside_the_file(tmp_path: Path, command: str, wanted: str) -> None:
    """A bare name is searched in PATH."""
    user = {"exec": {"command": command, "apiVersion": "client.authentication.k8s.io/v1"}}
    file = write(tmp_path / "1" / "config", config("a", "https://a", user, **{"current-context": "a"}))
    found = read_context([file]).user["exec"]["command"]
    assert found == (wanted if command in ("aws", "/bin/true") else str(tmp_path / "1" / wanted))


def test_impersonation_becomes_headers(tmp_path: Path) -> None:
    """A header per group and value; keys may have characters that headers do not allow."""
    user = {"as": "bob", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"acme.com/Project": ["x", "y"]}}
    file = write(tmp_path / "1" / "config", config("a", "https://a", user, **{"current-context": "a"}))
    assert read_context([file]).impersonation() == [
        ("Impersonate-User", "bob"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-acme.com%2Fproject", "x"),
        ("Impersonate-Extra-acme.com%2Fproject", "y"),
    ]


@pytest.mark.parametrize(
    ("user", "cluster", "fix"),
    [
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider gcp is not supported.*gke-gcloud-auth-plugin"),
        ({"as-groups": ["a"]}, {}, "need `as`"),
        ({"exec": {"command": "aws"}}, {}, "exec needs command and apiVersion"),
        (
            {},
            {"proxy-url": "socks5://p:1"},
            "proxy-url: a proxy by socks5 is not supported; use an http or https proxy",
        ),
        ({}, {"server": ""}, "the cluster has no server"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, str], fix: str
) -> None:
    """With what to do."""
    document = config("a", "https://a", user, **{"current-context": "a"})
    document["clusters"][0]["cluster"] |= cluster
    with pytest.raises(ValueError, match=fix):
        read_context([write(tmp_path / "1" / "config", document)])


@pytest.mark.parametrize(
    ("change", "fix"),
    [({"current-context": ""}, "kubectl config use-context"), ({"users": None}, 'users has no entry "a"')],
)
def test_an_incomplete_file_is_refused(tmp_path: Path, change: dict[str, Any], fix: str) -> None:
    """Without a current context, or without an entry that it names."""
    document = config("a", "https://a", {}, **{"current-context": "a"}) | change
    with pytest.raises(ValueError, match=fix):
        read_context([write(tmp_path / "1" / "config", document)])
