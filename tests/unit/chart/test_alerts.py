"""The alerts, held to their cases by promtool, and to their runbooks."""

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
    """One case as promtool reads it: judged by the series `ALERTS`, which Prometheus itself writes."""
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
    """What promtool says."""
    command = [need("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_the_rules_are_rules() -> None:
    """Expressions, templates and durations, by Prometheus' own judgement."""
    ran = promtool("check", "rules", RULES)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_fires_and_is_quiet_as_its_cases_say(tmp_path: Path) -> None:
    """All cases in one run of promtool."""
    file = tmp_path / "cases.yaml"
    tests = [promtool_test(case) for case in CASES]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_wrong_case_is_noticed(tmp_path: Path) -> None:
    """Each case turned round fails."""
    names = ("fires", "quiet")
    turned = [{names[1 - names.index(key)] if key in names else key: case[key] for key in case} for case in CASES]
    file = tmp_path / "cases.yaml"
    tests = [promtool_test(case) for case in turned]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    ran = promtool("test", "rules", file)
    assert (ran.stdout + ran.stderr).count(" expr: ") == len(CASES)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that never fires is worse than none."""
    assert {case["alert"] for case in CASES if "fires" in case} == set(ALERTS)
    assert {case["alert"] for case in CASES if "quiet" in case} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_runbook_where_it_says(name: str) -> None:
    """A heading of its own name, with what it means and what to do."""
    rule = ALERTS[name]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert {"summary", "description"} < set(rule["annotations"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    section = re.search(rf"(?ms)^## {name}\n(.+?)(?=^## |\Z)", page)
    assert section is not None
    for part in ("**Means.**", "**Look.**", "**Do.**"):
        assert part in section[1]


def test_there_is_no_runbook_without_an_alert() -> None:
    """It would be out of date."""
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^## (Chaski\w+)$", page)) == set(ALERTS)


def test_alerts_ask_for_documented_metrics_only() -> None:
    """A renamed metric would silence its alert."""
    documented = set(re.findall(r"`(chaski_\w+)", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    asked = {name for rule in ALERTS.values() for name in re.findall(r"\bchaski_\w+", rule["expr"])}
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} - {"chaski_"}
    assert asked - documented == set()
