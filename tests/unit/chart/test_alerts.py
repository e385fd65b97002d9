"""The alerts: promtool runs their cases, and each has a runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.tools import need

ROOT = Path(__file__).parents[3]
RULES = ROOT / "charts" / "chaski" / "files" / "alerts.yaml"
CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("alert_cases.yaml").read_text())
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


def promtool_test(case: dict[str, Any]) -> dict[str, Any]:
    """A case in promtool's format, evaluated by Prometheus' own series `ALERTS`."""
    firing = f'count(ALERTS{{alertname="{case["alert"]}",alertstate="firing"}})'
    return {
        "name": f"{case['alert']}: {case.get('fires') or case['quiet']}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case["series"].items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": case["at"],
                "exp_samples": [{"labels": "{}", "value": 1}] if "fires" in case else [],
            }
        ],
    }


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs promtool."""
    command = [need("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.landing
def test_the_rules_are_valid() -> None:
    """Expressions, templates and durations, checked by promtool."""
    ran = promtool("check", "rules", RULES)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.landing
def test_every_alert_fires_or_not_as_in_its_cases(tmp_path: Path) -> None:
    """All cases in one run of promtool."""
    file = tmp_path / "cases.yaml"
    tests = [promtool_test(case) for case in CASES]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.landing
def test_a_wrong_case_fails(tmp_path: Path) -> None:
    """Each case fails with the opposite expectation."""
    names = ("fires", "quiet")
    inverted = [{names[1 - names.index(key)] if key in names else key: case[key] for key in case} for case in CASES]
    file = tmp_path / "cases.yaml"
    tests = [promtool_test(case) for case in inverted]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    ran = promtool("test", "rules", file)
    assert (ran.stdout + ran.stderr).count(" expr: ") == len(CASES)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that never fires gives false confidence."""
    assert {case["alert"] for case in CASES if "fires" in case} == set(ALERTS)
    assert {case["alert"] for case in CASES if "quiet" in case} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_runbook_at_its_url(name: str) -> None:
    """A section with its name, its meaning and what to do."""
    rule = ALERTS[name]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert {"summary", "description"} < set(rule["annotations"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    section = re.search(rf"(?ms)^## {name}\n(.+?)(?=^## |\Z)", page)
    assert section is not None
    for part in ("**Meaning.**", "**Check.**", "**Fix.**"):
        assert part in section[1]


def test_there_is_no_runbook_without_an_alert() -> None:
    """It would be outdated."""
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^## (Chaski\w+)$", page)) == set(ALERTS)


def test_alerts_use_documented_metrics_only() -> None:
    """A renamed metric would silence its alert."""
    documented = set(re.findall(r"`(chaski_\w+)", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    used = {name for rule in ALERTS.values() for name in re.findall(r"\bchaski_\w+", rule["expr"])}
    used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} - {"chaski_"}
    assert used - documented == set()
