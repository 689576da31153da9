"""The description of a sweep's run in MLflow, which its page shows on top: what was asked for, and the best trials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fersweep.common.display.tables import short
from fersweep.data_pipeline.tasks.features import described
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.ranking.budget import spending
from fersweep.results.record.ranking.finalists import OF, final
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores import paired

TOP = 5
NUM_PARAMS = 6  # of a trial in the table; its run has all
REPORT = "report.html"  # an artifact of the sweep's run
VIEW = "All trials, best first"


@dataclass(frozen=True)
class Links:
    """Where MLflow's page has the sweep's view, its run, those of its trials (number → run id), and the report, if any."""

    view: str
    experiment_id: str
    run_id: str
    trials: Mapping[int, str]
    has_report: bool

    def to_trial(self, trial: TrialRecord) -> str:
        run_id = self.trials.get(trial.number)
        return f"[{trial.name}](#/experiments/{self.experiment_id}/runs/{run_id})" if run_id else trial.name

    def markdown(self) -> str:
        """The link to the view, and that to the report if there is one."""
        view = f"[{VIEW}]({self.view})"
        return add_report(view, self.experiment_id, self.run_id) if self.has_report else view


def add_report(note: str, experiment_id: str, run_id: str) -> str:
    """A description with a link to the report beside that to the view: the report is made after the end is recorded."""
    link = f"[report](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{REPORT})"
    return note if link in note else re.sub(rf"(\[{VIEW}\]\([^)]*\))", rf"\1 · {link}", note, count=1)


def sweep_note(
    sweep: SweepJson,
    record: SweepRecord | None = None,
    links: Links | None = None,
    predictions: tuple[np.ndarray, np.ndarray] | None = None,
) -> str:
    """Markdown. `predictions`: y (N,) and probabilities (N, C) of the best trial on val, for the interval."""
    asked = sweep.asked
    head = (
        f"Sweep **{asked.name}**: `{asked.trainable}` on **{sweep.dataset.name}** "
        f"({', '.join(sweep.classes)}; {_features(sweep)})."
    )
    parts = [head]
    if record is not None and links is not None:
        parts += _results(sweep, record, links, predictions)
    return "\n\n".join([*parts, _asked(sweep), f"`{sweep.command}`"]) + "\n"


def _results(
    sweep: SweepJson, record: SweepRecord, links: Links, predictions: tuple[np.ndarray, np.ndarray] | None
) -> list[str]:
    metric, mode = sweep.metric, sweep.mode
    states = ", ".join(f"{number} {state}" for state, number in record.count(repeats=False).items() if number)
    line = f"{len(record.searched)} trials ({states or 'none yet'}), {record.num_epochs} epochs."
    if budget := spending(record, sweep.asked):
        line += f" Budget: {'; '.join(part.text for part in budget)}."
    order = sweep.order
    ranked = record.ranked(order)[:TOP]
    if order.limits and record.ranking(order).best() is None:
        line += " No trial keeps to the constraints yet."
    if not ranked:
        return [f"{line} {links.markdown()}"]
    best = ranked[0].value(metric, mode) or 0.0
    interval = paired.interval(sweep, best, *predictions) if predictions is not None else None
    value = str(interval) if interval else f"{best:.4f}"
    line += f" Best `{metric}`: **{value}**, trial {links.to_trial(ranked[0])}"
    line += f"; val chose it, so it looks better there than it is. {links.markdown()}"
    tried = {trial.number: trial.at_best(metric, mode).params for trial in ranked}
    names = list(dict.fromkeys(name for params in tried.values() for name in params))[:NUM_PARAMS]
    others = order.names[1:]
    table = [
        ["trial", *(f"`{name}`" for name in [metric, *others]), "best epoch", "ended", *(f"`{name}`" for name in names)]
    ]
    table += [["---"] * len(table[0])]
    for trial in ranked:
        best = trial.best(metric, mode) or {}
        params = tried[trial.number]
        values = [short(params[name]) if name in params else "" for name in names]
        ended = f"{trial.ended} ({trial.point})" if trial.point else trial.ended
        if broken := order.infeasible(trial):
            ended += f", infeasible: {broken}"
        more = [f"{value:.4g}" for value in (order.values(trial) or [])[1:]]
        table.append([links.to_trial(trial), f"{best[metric]:.4f}", *more, f"{best['epoch']:.0f}", ended, *values])
    baseline = sweep.baseline.score(metric)
    if baseline is not None:
        always = f"always {sweep.baseline.majority_class}"
        table.append([always, f"{baseline:.4f}", *([""] * len(others)), "", "baseline", *([""] * len(names))])
    return [line, "\n".join(f"| {' | '.join(row)} |" for row in table), *_finalists(sweep, record, links)]


def _finalists(sweep: SweepJson, record: SweepRecord, links: Links) -> list[str]:
    judged = final(record, sweep.asked)
    if judged is None:
        return []
    table = [["finalist", "promised", "mean ± sd", "95 % interval", "seeds"], ["---"] * 5]
    for finalist in judged.finalists:
        interval = "" if finalist.low is None else f"{finalist.low:.4f} to {finalist.high:.4f}"
        point = links.to_trial(finalist.point) + (" wins" if finalist is judged.winner else "")
        row = [
            point,
            f"{finalist.promised:.4f}",
            finalist.result,
            interval,
            f"{len(finalist.values)} of {finalist.asked}",
        ]
        table.append(row)
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return [f"Finalists, {judged.progress} repeats: the best points again with other seeds. {OF}.", lines]


def _asked(sweep: SweepJson) -> str:
    asked, baseline = sweep.asked, sweep.baseline
    stop, search = asked.stop, asked.search
    seconds = "" if stop.max_s is None else f" and {stop.max_s:.10g} s of training"
    by = ", ".join(f"the {mode} of `{name}`" for name, mode in zip(sweep.order.names, sweep.order.modes, strict=True))
    by += "".join(f", with `{constraint}`" for constraint in search.constraints)
    versions = ", ".join(f"{name} {version}" for name, version in sweep.versions.items())
    return f"""\
- search: {search.sampler}, {search.num_trials} trials, seed {search.seed}
- ranked by {by}; {stop.scheduler}, at most {stop.max_epochs} epochs{seconds}: {stop.in_words()}
- baseline (always *{baseline.majority_class}*) on val: accuracy {baseline.accuracy:.3f}, \
balanced accuracy {baseline.balanced_accuracy:.3f}, macro-F1 {baseline.macro_f1:.3f}
- dataset fingerprint `{sweep.dataset.fingerprint}`
- {versions}"""


def _features(sweep: SweepJson) -> str:
    return described(sweep.feature_names)
