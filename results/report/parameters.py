"""What a search learnt of its space, as sections of a page: which parameters matter, and where the good values are.

Most are Optuna's plots. These look at complete trials alone, which under a scheduler are the good ones; so trials that it
stopped count here with the best value that they reached.
"""

# Parts of plotly have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from fersweep.common.display.charts import chart, log_ticks, side_by_side
from fersweep.common.display.colours import BEST, STATES
from fersweep.common.display.page import Section, escape, plot
from fersweep.results.record.optuna_study import study_of
from fersweep.results.report.data import ReportData
from fersweep.results.report.parameters_together import MIN_TRIALS as MIN_IMPORTANCES
from fersweep.results.report.parameters_together import contour, parallel

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure


MIN_TRIALS = 2  # with a value, for any of the plots
FEW = 30  # trials; with fewer, importances are a hint
MAX_PARAMS = 8
NOT_THE_DASHBOARDS = (
    "`fersweep ui NAME --optuna` shows other importances: Optuna's dashboard looks at finished trials alone, and takes "
    "their best tenth."
)


def sections(data: ReportData) -> list[Section]:
    """Parameter importances, slices, parallel coordinates, a contour; one section that says why where there are none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    heading = "What the search learnt of the space"
    study = study_of(data.record, data.metric, data.mode, judge_stopped=True)
    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(trials) < MIN_TRIALS:
        return [Section(heading, note=f"Needs {MIN_TRIALS} ended trials with a value; there are {len(trials)}.")]
    params = _varied(trials)
    if not params:
        return [Section(heading, note="All trials have the same parameters.")]
    weights = importances(study, len(trials), params)
    shown = list(weights or params)[:MAX_PARAMS]
    which = f"the {len(shown)} most important of {len(params)} parameters" if weights else f"{len(shown)} parameters"
    stopped = sum(trial.state == "stopped" for trial in data.ranked)
    counted = (
        f" {stopped} trials that were stopped early count with the best value that they reached." if stopped else ""
    )
    return [
        _important(weights, len(trials), counted),
        _slices(data, trials, shown, which),
        parallel(data, study, shown, which),
        contour(data, study, trials, shown),
    ]


def _varied(trials: list[optuna.trial.FrozenTrial]) -> list[str]:
    """Parameters that have two values or more, those that most trials have first."""
    values: dict[str, list[object]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
    varied = {name: its_values for name, its_values in values.items() if len(set(its_values)) > 1}
    return sorted(varied, key=lambda name: (-len(varied[name]), name))


def importances(study: optuna.Study, num_trials: int, params: list[str]) -> dict[str, float]:
    """Parameter → importance, the most important first, adding up to 1; {} where there are too few trials.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): how much the values of the best trials differ from those of all,
    parameter by parameter. The best are a tenth of them, or five, or a third, where five are more than that.
    """
    if num_trials < MIN_IMPORTANCES:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    quantile = (num_best(num_trials) - 0.5) / num_trials  # Optuna rounds up
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        return get_param_importances(study, evaluator=evaluator, params=params)


def num_best(num_trials: int) -> int:
    """How many trials PED-ANOVA compares with all."""
    return max(math.ceil(num_trials / 10), min(5, num_trials // 3))


def _important(weights: dict[str, float], num_trials: int, counted: str) -> Section:
    from plotly.graph_objects import Bar

    heading = "Parameter importances"
    if not weights:
        return Section(heading, note=f"Need {MIN_IMPORTANCES} ended trials with a value; there are {num_trials}.")
    names = list(weights)[::-1]
    figure = chart("importance", height=90 + 24 * len(names), showlegend=False)
    figure.add_trace(
        Bar(
            x=[weights[name] for name in names],
            y=[escape(name) for name in names],
            orientation="h",
            marker_color=STATES["finished"],
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    caution = f" With {num_trials} trials take it as a hint." if num_trials < FEW else ""
    return Section(
        heading,
        plot(figure),
        f"How much the {num_best(num_trials)} best of {num_trials} trials differ from all of them in each parameter "
        f"(PED-ANOVA, Optuna's evaluator; the sum is 1).{counted}{caution} A parameter that was searched in a narrow range "
        f"looks unimportant. {NOT_THE_DASHBOARDS}",
    )


def _slices(data: ReportData, trials: list[optuna.trial.FrozenTrial], params: list[str], which: str) -> Section:
    best = data.ranked[0].number if data.ranked else -1
    return Section(
        "Slices",
        side_by_side([_slice(data, trials, name, best) for name in params], 270),
        f"Each trial's value against one parameter at a time: {which}. Trials that were stopped early are gray, and were judged "
        "after fewer epochs; the ring is the best trial.",
    )


def _slice(data: ReportData, trials: list[optuna.trial.FrozenTrial], name: str, best: int) -> Figure:
    from optuna.distributions import CategoricalDistribution, IntDistribution
    from plotly.graph_objects import Scatter

    figure = chart(escape(name), data.metric, height=260, showlegend=False, xaxis_nticks=5, xaxis_tickangle=0)
    having = [trial for trial in trials if name in trial.params]
    distribution = having[0].distributions[name]
    choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else None
    if choices is not None:
        names = [escape(choice) for choice in choices]
        figure.update_xaxes(type="category", categoryorder="array", categoryarray=names)
    elif getattr(distribution, "log", False):
        values = [trial.params[name] for trial in having]
        ticks = log_ticks(min(values), max(values))
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    elif isinstance(distribution, IntDistribution) and max(trial.params[name] for trial in having) <= 8:
        figure.update_xaxes(dtick=1)
    for state in ("stopped", "finished"):
        in_state = [trial for trial in having if data.record.trials[trial.number].state == state]
        figure.add_trace(
            Scatter(
                x=[escape(trial.params[name]) for trial in in_state]
                if choices is not None
                else np.array([trial.params[name] for trial in in_state], np.float32),
                y=np.array([trial.value for trial in in_state], np.float32),
                mode="markers",
                marker={
                    "color": STATES[state],
                    "size": np.array([9 if trial.number == best else 6 for trial in in_state], np.int8),
                    "line": {
                        "color": BEST,
                        "width": np.array([2.5 if trial.number == best else 0 for trial in in_state], np.float32),
                    },
                },
                opacity=0.8,
                customdata=np.array([trial.number for trial in in_state], np.int32),
                hovertemplate=f"%{{x}}<br>trial %{{customdata:04d}}, {state}: %{{y:.4f}}<extra></extra>",
            )
        )
    return figure
