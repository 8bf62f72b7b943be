"""Alerts and dashboard ask for metrics that there are."""

import json
import re

import pytest
import yaml

from csi_lvm_iscsi.controller.metrics import LAST_CALL_COUNTS_SECONDS
from tests.chart.charts import CHART, EVERYTHING, ROOT, rendered

_METRIC = re.compile(r"\bcsi_lvm_iscsi_\w+")


def _documented() -> set[str]:
    rows = re.findall(
        r"^\| `(csi_lvm_iscsi_\w+)` \| (\w+)", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    histograms = {
        f"{name}_{part}"
        for name, kind in rows
        if kind == "histogram"
        for part in ("bucket", "count", "sum")
    }
    return {name for name, kind in rows if kind != "histogram"} | histograms


def _expressions() -> list[str]:
    alerts = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    dashboard = json.loads((CHART / "files/dashboard.json").read_text())
    return [
        *(rule["expr"] for group in alerts["groups"] for rule in group["rules"]),
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
    ]


@pytest.mark.parametrize("expression", _expressions())
def test_asks_for_metrics_that_there_are(expression: str) -> None:
    names = set(_METRIC.findall(expression))
    assert names
    assert names <= _documented()


def test_alerts_say_what_to_do() -> None:
    alerts = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    for rule in alerts["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_an_unreachable_host_is_told_of_after_the_last_call_of_another_replica_counts() -> None:
    alerts = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    (rule,) = [
        each
        for each in alerts["groups"][0]["rules"]
        if each["alert"] == "CsiLvmIscsiStorageHostUnreachable"
    ]
    assert int(rule["for"].removesuffix("m")) * 60 > LAST_CALL_COUNTS_SECONDS


def test_rendered_whole() -> None:
    objects = {each["kind"]: each for each in rendered(EVERYTHING)}
    alerts = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    assert objects["PrometheusRule"]["spec"] == alerts
    (text,) = objects["ConfigMap"]["data"].values()
    assert json.loads(text) == json.loads((CHART / "files/dashboard.json").read_text())
    for kind in ("PodMonitor", "PrometheusRule", "ConfigMap"):
        assert objects[kind]["metadata"]["labels"]["release"] == "prometheus"
