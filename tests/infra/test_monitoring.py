"""What the dashboard asks for is there to be asked: every metric exists, and every query can be parsed."""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY
from ray.dashboard.modules.metrics.dashboards.default_dashboard_panels import default_dashboard_config

from tests.infra.by_hand.compose_in_namespaces import services
from tests.infra.by_hand.many_items import COUNTED
from tests.infra.dashboard import dashboard, expressions
from tests.infra.our_metrics import OURS, TAGS, exported

FOLDER = Path(__file__).parents[2] / "infra/monitoring"
QUERIES = list(expressions())
OF_PROMETHEUS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def metrics(expression: str) -> set[str]:
    """The names of all metrics of a query, once Grafana has filled in its times."""
    found: set[str] = set()

    def note(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            found.add(node.name)

    promql_parser.walk(promql_parser.parse(re.sub(r"\$__\w+", "5m", expression)), note)
    return found


def of_ray() -> set[str]:
    """The metrics of Ray that its own dashboards show."""
    panels = [panel for row in default_dashboard_config.rows for panel in row.panels] + default_dashboard_config.panels
    text = " ".join(target.expr for panel in panels for target in panel.targets)
    return set(re.findall(r"\b(?:ray|autoscaler)_\w+", text))


def of_prefect() -> set[str]:
    """The metrics of a Prefect server."""
    import_module("prefect.server.utilities.worker_channel")
    return {sample.name for family in REGISTRY.collect() for sample in family.samples} | {
        f"{family.name}_total" for family in REGISTRY.collect() if family.type == "counter"
    }


KNOWN = exported() | of_ray() | of_prefect() | OF_PROMETHEUS


@pytest.mark.parametrize("expression", [expression for _, expression in QUERIES], ids=range(len(QUERIES)))
def test_a_query_asks_for_metrics_that_there_are(expression: str) -> None:
    asked = metrics(expression)
    assert asked
    assert asked <= KNOWN


def test_another_name_is_not_known() -> None:
    assert not metrics("sum(rate(ray_mascing_units_done[5m])) / up") <= KNOWN


def test_workers_report_these_metrics_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, str] = {}

    def recorder(kind: str) -> Callable[..., Any]:
        def make(name: str, **settings: Any) -> MagicMock:
            assert settings["tag_keys"] == TAGS
            made[name] = kind
            return MagicMock()

        return make

    for kind in ("Counter", "Histogram"):
        monkeypatch.setattr(f"ray.util.metrics.{kind}", recorder(kind))
    monkeypatch.delitem(sys.modules, "mascing.tasks.workers.metrics", raising=False)
    fresh = import_module("mascing.tasks.workers.metrics")
    fresh.report_item(dict.fromkeys(TAGS, "a"), 1.0, 1.0, dict.fromkeys(COUNTED, 1))
    assert made == OURS


def test_every_metric_of_ours_is_shown() -> None:
    text = " ".join(expression for _, expression in QUERIES)
    assert [name for name in OURS if name not in text] == []


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", str(panels))) <= {*variables, "__rate_interval", "__range"}
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)  # no panel lies on another
    assert max(x for x, _ in cells) < 24


def test_prometheus_asks_services_that_there_are() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    text = str(config["scrape_configs"])
    named = set(re.findall(r"(?:http://|')([a-z-]+):\d+", text))
    assert named == {"ray-head", "prefect"} <= set(services())
    [ray] = [job for job in config["scrape_configs"] if job["job_name"] == "ray"]
    # Without the type, Prometheus 2 sends a bare token here, which Ray refuses.
    assert ray["http_sd_configs"][0]["authorization"]["type"] == "Bearer"


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    provisioning = FOLDER / "grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((provisioning / "dashboards/mascing.yaml").read_text())["providers"]
    mounts = dict(mount.split(":")[:2] for mount in services()["grafana"]["volumes"])
    assert mounts["../infra/monitoring/grafana/dashboards"] == provider["options"]["path"]
