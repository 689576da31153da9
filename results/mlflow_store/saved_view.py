"""A sweep's view in MLflow's page: its trials alone, best first, with the columns and charts that show how they differ.

MLflow's page opens with all runs of all sweeps, newest first, and without a metric. It also keeps "views" that people
save (menu "Views"), each as a tag of the experiment; the recorder saves this one. A version of MLflow that does
not know such tags shows its usual page. Seen in MLflow 3.17: `mlflow.sharedViewState.KEY` holds {name, createdAt,
updatedAt, state}, the state being JSON again, of what its page keeps of search, columns and charts.
"""

from __future__ import annotations

import json
from typing import Any

from fersweep.results.mlflow_store import limits
from fersweep.results.mlflow_store.run_fields import FRONT_TAG, INFEASIBLE_TAG, best_name, milliseconds
from fersweep.results.record.sweep_json import SweepJson
from fersweep.trainables.metrics import SCORES

PREFIX = "mlflow.sharedViewState."
MAX_PARAMS = 16  # columns; a chart of parallel coordinates has half as many at most
RUNS = "?workflowType=machine_learning"  # MLflow's page opens on its GenAI side by default

Json = dict[str, Any]  # with the keys that MLflow's page reads


def address(experiment_id: str, sweep: SweepJson) -> str:
    """Where MLflow's page shows the view, relative to the server's address."""
    return f"/#/experiments/{experiment_id}/runs{RUNS}&viewStateShareKey={sweep.sweep_id}"


def saved_view(sweep: SweepJson) -> tuple[str, str]:
    """Key and value of the experiment's tag that holds the view."""
    at = milliseconds(sweep.created)
    for max_params in (MAX_PARAMS, 1, 0):  # names may be long
        state = json.dumps(_state(sweep, max_params), ensure_ascii=False)
        view = {"name": sweep.asked.name, "createdAt": at, "updatedAt": at, "state": state}
        text = json.dumps(view, ensure_ascii=False)
        if len(text) <= limits.EXPERIMENT_TAG:
            break
    return PREFIX + sweep.sweep_id, text


def _state(sweep: SweepJson, max_params: int = MAX_PARAMS) -> Json:
    metric, mode = sweep.metric, sweep.mode
    numeric, others = _searched(sweep)
    searched = [limits.key(name) for name in [*numeric, *others][:max_params]]
    scores = [metric, *(f"val_{name}" for name in SCORES if f"val_{name}" != metric)]
    return {
        "searchFilter": f"tags.`fersweep.sweep_id` = '{sweep.sweep_id}' AND tags.`fersweep.kind` = 'trial'",
        "orderByKey": f"metrics.`{best_name(metric)}`",
        "orderByAsc": mode == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [
            *(f"metrics.`{best_name(name)}`" for name in scores),
            "metrics.`best/epoch`",
            *(f"metrics.`cost/{name}`" for name in ("latency_ms", "weights")),
            "tags.`ended`",
            *([f"tags.`{FRONT_TAG}`"] if sweep.order.objectives else []),
            *([f"tags.`{INFEASIBLE_TAG}`"] if sweep.order.limits else []),
            *(f"params.`{name}`" for name in searched),
        ],
        "compareRunSections": [
            {"uuid": "search", "name": "Search", "display": True, "isReordered": True},
            {"uuid": "epochs", "name": "Model metrics", "display": True, "isReordered": True},
            {"uuid": "best", "name": "best", "display": True, "isReordered": True},
            {"uuid": "system", "name": "System metrics", "display": False, "isReordered": True},
        ],
        "compareRunCharts": _charts(metric, searched),
        "isAccordionReordered": True,
        "runsHiddenMode": "FIRST_10_RUNS",
        "groupBy": None,
    }


def _searched(sweep: SweepJson) -> tuple[list[str], list[str]]:
    """Names of the parameters that the sampler draws: numbers, those with the widest range first; and others.

    Empty for a sweep of an earlier version, whose record does not have them.
    """
    attributes = {name: json.loads(text)["attributes"] for name, text in sweep.space.items()}

    def width(name: str) -> float:
        low, high = attributes[name]["low"], attributes[name]["high"]
        return high / low if attributes[name]["log"] else 1.0

    numeric = sorted((name for name, values in attributes.items() if "low" in values), key=width, reverse=True)
    return numeric, [name for name in attributes if name not in numeric]


def _charts(metric: str, searched: list[str]) -> list[Json]:
    """Parallel coordinates of all trials; the ten best beside each other, and by epoch."""
    of_search: list[Json] = [
        {
            "type": "PARALLEL",
            "selectedParams": searched[: MAX_PARAMS // 2],
            "selectedMetrics": [best_name(metric)],
            "showAllRuns": True,
        },
        {
            "type": "DIFFERENCE",
            "chartName": "Runs difference view",
            "compareGroups": ["Parameters"],
            "showChangeFromBaseline": False,
            "showDifferencesOnly": True,
            "baselineColumnUuid": "",
        },
    ]
    common = {"runsCountToCompare": 10, "deleted": False, "isGenerated": False}
    charts = [{**chart, **common, "metricSectionId": "search"} for chart in of_search if searched]
    for name in dict.fromkeys([metric, "val_loss", "train_loss"]):
        charts.append(
            {
                **common,
                "type": "LINE",
                "metricSectionId": "epochs",
                "metricKey": name,
                "displayName": name,
                "isGenerated": True,
                "lineSmoothness": 0,
                "xAxisScaleType": "linear",
                "scaleType": "linear",
                "xAxisKey": "step",
                "selectedXAxisMetricKey": "",
                "yAxisKey": "metric",
                "yAxisExpressions": [],
                "range": {},
                "useGlobalXaxisKey": True,
                "useGlobalLineSmoothing": True,
            }
        )
    return [{**chart, "uuid": f"chart-{index}"} for index, chart in enumerate(charts)]
