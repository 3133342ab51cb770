"""Alert rules and dashboard: promtool judges them, and they know no metric that the bridge does not tell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.metrics import TABLE
from tests.support.ci import in_ci

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "prometheus-rules.yaml"
DASHBOARD = ROOT / "config" / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "run" / "alerts.md"
#: What the process, and Prometheus itself, tell.
OTHERS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "up"}
LABELS = {metric.prometheus: {"bridge", "job", "instance", *metric.labels} for metric in TABLE if metric.prometheus}
for one in TABLE:
    if one.of == "queue" and one.prometheus:
        LABELS[one.prometheus].add("queue")


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool") or shutil.which(str(ROOT / "build" / "promtool"))
    if found is None:
        missing = "promtool is not there: `make metrics` takes it from Debian's package prometheus"
        if not in_ci():
            pytest.skip(missing)
        pytest.fail(missing)
    return found


def judged(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    """Every expression of the dashboard, its variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text())
    listed = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    listed += [one["expr"] for one in dashboard["annotations"]["list"] if "expr" in one]
    filled = {"$bridge": ".*", "$queue": ".*", "$__rate_interval": "1m"}
    for expression in listed:
        yield re.sub("|".join(map(re.escape, filled)), lambda found: filled[found[0]], expression)


def unknown(expression: str) -> set[str]:
    """Names of metrics, and labels of theirs, that the bridge does not tell."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"\b(?:bridge|process|python)_[a-z0-9_]+|\bup\b", bare))
    found = names - LABELS.keys() - OTHERS
    for name, matchers in re.findall(r"(bridge_[a-z0-9_]+)\{([^}]*)\}", bare):
        found |= set(re.findall(r"(\w+)\s*=~?", matchers)) - LABELS.get(name, set())
    return found


def test_promtool_takes_the_rules(promtool: str) -> None:
    assert f"{len(rules())} rules found" in judged(promtool, "check", "rules", RULES)


def test_each_alert_fires_when_it_should_and_not_before(promtool: str) -> None:
    file = ROOT / "tests" / "metrics" / "alerts.yaml"
    judged(promtool, "test", "rules", file)
    tried = {case["name"] for case in yaml.safe_load(file.read_text())["tests"]}
    assert {rule["alert"] for rule in rules()} <= tried


def test_promtool_takes_every_expression_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in judged(promtool, "check", "rules", file)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_what_to_do_and_where_it_is_written(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"]) == set()
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "action", "page"}
    assert rule["annotations"]["page"] == f"docs/run/alerts.md#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in PAGE.read_text()


def test_no_page_is_left_over() -> None:
    assert set(re.findall(r"^## (Bridge\w+)$", PAGE.read_text(), re.MULTILINE)) == {rule["alert"] for rule in rules()}


def test_the_dashboard_asks_for_what_there_is() -> None:
    assert [(expression, unknown(expression)) for expression in expressions() if unknown(expression)] == []


def test_the_dashboard_can_be_imported_anywhere() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {one["name"]: one["type"] for one in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "bridge": "query", "queue": "query"}
    shown = [panel for panel in panels() if panel["type"] != "row"]
    assert all(panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for panel in shown)
    assert all(panel["title"] and panel["description"] for panel in shown)
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    assert "id" not in dashboard, "Grafana gives one"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels())
    assert [panel["title"] for panel in panels() if panel["type"] == "row"][:4] == [
        *("Is it moving?", "How fast?", "When is it done?", "What waits?")
    ]


def test_what_is_unknown_is_found() -> None:
    assert unknown('bridge_nosuch{queue="a"} + bridge_moved_total{level="1"}') == {"bridge_nosuch", "level"} | {"queue"}
    assert unknown('bridge_moved_total{queue=~"a|bridge_x"}') == set()
