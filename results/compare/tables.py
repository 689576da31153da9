"""Comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fersweep.common.display.tables import duration, short, table
from fersweep.data_pipeline.tasks.clusters import INDEPENDENT
from fersweep.results.compare.data import (
    ComparedSweeps,
    ComparedTrials,
    Pair,
    RankedTrial,
    SweepSummary,
    SweepTrials,
    TrialRow,
    TrialScores,
)
from fersweep.results.compare.objectives import (
    cost_cells,
    cost_columns,
    front_cell,
    front_heading,
    front_line,
    infeasible_lines,
)
from fersweep.results.compare.trials import TTA_SCORES, VAL_SCORES
from fersweep.results.record.journal import Hparams, trial_name
from fersweep.results.record.ranking.finalists import OF, Final
from fersweep.results.scores.intervals import DASH, cell
from fersweep.results.scores.paired import NoDifference, correction, p_cell

if TYPE_CHECKING:
    from rich.console import RenderableType


UNLIKE = "the scores above are not comparable"
SHARED = "both on the same faces of val (taken for independent where no persons are named), so these can be compared"
HPARAMS = "hparams that varied"
FINALISTS = ["finalist", "promised", "mean ± sd", "95 % interval", "seeds", ""]
BROKEN = "did not keep its promise"
AGAINST = "p vs best"
NOISE = (
    "p vs best: of the difference in {score} on the same faces of val (permutation test of {words}; {corrected}); "
    "noise: 0.05 or more. val chose these trials: only test can say what is left of it."
)
WARNING = "val chose these trials: it makes them look better than they are, and only test can say what is left of it."


def render_sweep(compared: SweepTrials) -> RenderableType:
    """The trials of a sweep: scores, recall by class, hparams."""
    from rich.console import Group
    from rich.text import Text

    head = f"{compared.sweep}: {compared.trainable} on {compared.dataset.name}. {by_state(compared.states, 'No trials yet')}; "
    head += f"{compared.total_epochs} epochs. {budget_line(compared)}{ranking(compared)}"
    if len(compared.trials) < (num_trials := sum(compared.states.values())):
        head += f" Shown: the best {len(compared.trials)} of {num_trials} trials (--top)."
    scores = [compared.metric, *(name for name in VAL_SCORES if name != compared.metric)]
    costs = cost_columns(compared)
    first = table(
        ["trial", "ended", *front_heading(compared), "best epoch", *map(_heading, scores), *costs, AGAINST], num_text=2
    )
    recall = table(["recall", *compared.classes], num_text=1)
    mirrored = table(
        ["with mirror image (tta)", *(_heading(name.replace("_tta", "")) for name in TTA_SCORES)], num_text=1
    )
    for row in compared.trials:
        number, values = trial_name(row.trial), {compared.metric: row.value, **row.scores}
        first.add_row(
            number,
            _state_cell(row),
            *front_cell(compared, row),
            _epoch_cell(row),
            *_cells(values, scores),
            *cost_cells(row, costs),
            against_cell(row),
        )
        recall.add_row(number, *_cells(row.recall or {}, compared.classes, digits=3))
        if TTA_SCORES[0] in row.scores:
            mirrored.add_row(number, *_cells(row.scores, TTA_SCORES))
    first.add_section()
    recall.add_section()
    for baseline in compared.baselines:
        blank = [""] * len(front_heading(compared))
        first.add_row(
            baseline.name,
            "baseline",
            *blank,
            "",
            *_cells(baseline.scores, scores),
            *[""] * len(costs),
            "",
            style="dim",
        )
        recall.add_row(baseline.name, *_cells(baseline.recall, compared.classes, digits=3), style="dim")
    hparams = _hparams([(trial_name(row.trial), row.hparams) for row in compared.trials])
    optional = [mirrored] if mirrored.row_count else []
    notes = [Text(note, "yellow") for note in compared.notes]
    broken = [Text(line, "yellow") for line in infeasible_lines(compared)]
    final = _finalists(compared.finalists) if compared.finalists else []
    noise = Text(noise_note(compared), "dim")
    return Group(Text(head), *notes, first, *broken, noise, *optional, recall, hparams, *final)


def render_sweeps(compared: ComparedSweeps) -> RenderableType:
    """Several sweeps: facts, why their scores cannot be compared, their best trials, all their trials."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_side_by_side(compared.sweeps), *_reasons(compared.reasons)]
    if compared.pairs:
        parts += [Text(""), Text(f"The best of each, {SHARED}; {correction(len(compared.pairs))}.")]
        parts += [_pairs(compared.pairs, compared.score)]
    if compared.trials:
        parts += [_trials(compared.trials), _hparams([(trial.name, trial.hparams) for trial in compared.trials])]
    if compared.differences:
        parts.append(_other_hparams(compared.differences))
    return Group(*parts, Text(WARNING, "dim"))


def render_trials(compared: ComparedTrials) -> RenderableType:
    """Two trials: their scores, the difference of their answers, the hparams that differ."""
    from rich.console import Group
    from rich.text import Text

    a, b = compared.a, compared.b
    scores = table(["", a.name, b.name], num_text=1)
    scores.add_row("trainable", a.trainable, b.trainable)
    scores.add_row("ended", ended_cell(a), ended_cell(b))
    scores.add_row("best epoch", epoch_cell(a), epoch_cell(b))
    for name in dict.fromkeys([*a.scores, *b.scores]):
        scores.add_row(name, *_cells(a.scores, [name]), *_cells(b.scores, [name]))
    pair = _pairs([compared.pair], compared.score)
    return Group(scores, *_reasons(compared.reasons), pair, _other_hparams(compared), Text(WARNING, "dim"))


def facts(summary: SweepSummary) -> dict[str, str]:
    """What there is to say of a sweep, under its headings."""
    best, dataset, baseline = summary.best, summary.dataset, summary.baseline
    cells = {
        "trainable": summary.trainable,
        "dataset": f"{dataset.name} {dataset.fingerprint.removeprefix('sha256:')[:12]}",
        "classes": ", ".join(summary.classes),
        "faces of val": summary.faces if summary.num_faces is None else f"{summary.num_faces} {summary.faces}",
        "share of train": f"{summary.fraction:g}",
        "ranked by": f"{summary.mode} {summary.metric}",
        "best": "none yet",
    }
    if best is not None:
        cells["best"] = f"{best.value:.4f}"
        if best.low is not None:
            cells["95 % interval"] = f"[{best.low:.4f}, {best.high:.4f}]"
        cells["best trial"] = f"{trial_name(best.trial)}, epoch {best.best_epoch}"
    if baseline.value is not None:
        cells[baseline.name] = f"{baseline.value:.4f}"
    return cells | {
        "trials": by_state(summary.states, "none yet"),
        "epochs": str(summary.total_epochs),
        "trials' time": duration(summary.trial_s),
        "wall time": duration(summary.wall_s),
        "session": summary.session or "",
    }


def budget_line(compared: SweepTrials) -> str:
    """What is spent of the search's budget, as a sentence with a space after it; "" where there is none."""
    return f"Budget: {'; '.join(compared.budget)}. " if compared.budget else ""


def _finalists(final: Final) -> list[RenderableType]:
    from rich.text import Text

    rows = table(FINALISTS, num_text=1)
    for cells in finalist_rows(final):
        rows.add_row(*cells)
    return [rows, Text(finalists_note(final), "dim")]


def finalist_rows(final: Final) -> list[list[str]]:
    """Under FINALISTS: the point, what it promised, what is left of it, and a mark where that is less."""
    rows: list[list[str]] = []
    for finalist in final.finalists:
        number = trial_name(finalist.point.number)
        point = f"{number} wins" if final.winner is finalist else number
        interval = DASH if finalist.low is None else f"[{finalist.low:.4f}, {finalist.high:.4f}]"
        seeds = f"{len(finalist.values)} of {finalist.asked}"
        mark = BROKEN if finalist.kept_promise is False else ""
        rows.append([point, f"{finalist.promised:.4f}", finalist.result, interval, seeds, mark])
    return rows


def finalists_note(final: Final) -> str:
    """What the table of finalists shows."""
    note = f"Finalists, {final.progress} repeats: the best points again with other seeds. Promised: by the search's own run, which was chosen for it. {OF}."
    stopped = [trial_name(finalist.point.number) for finalist in final.finalists if finalist.point.state == "stopped"]
    if stopped:
        note += f" {', '.join(stopped)}: stopped early in the search, trained in full here."
    if final.winner is None:
        return note + (" No winner yet." if final.ended < final.asked else " No winner: all repeats failed.")
    return f"{note} `promote` takes the winner's median run."


def by_state(states: Mapping[str, int], none: str) -> str:
    """`3 finished, 1 failed`; `none` where there is no trial."""
    return ", ".join(f"{number} {state}" for state, number in states.items() if number) or none


def ranking(compared: SweepTrials) -> str:
    """What trials are ranked by, and which faces their scores are of."""
    by = f"the {compared.mode} of {compared.metric}"
    if len(compared.objectives) > 1:
        by = "front, then by " + by
    lines = [f"Best by {by}; scores on val, {compared.faces}."]
    if compared.front:
        lines.append(front_line(compared, compared.front))
    if compared.constraints:
        lines.append(f"Constraints: {', '.join(compared.constraints)}.")
    return " ".join(lines)


def noise_note(compared: SweepTrials) -> str:
    """What the column AGAINST means; "" where it has no p."""
    compared_with_best = [row.against_best for row in compared.trials if row.against_best is not None]
    known = [difference for difference in compared_with_best if not isinstance(difference, NoDifference)]
    if not known:
        return ""
    return NOISE.format(score=score_title(compared.score), words=known[0].resampled, corrected=correction(len(known)))


def score_title(score: str) -> str:
    """A score as people write it."""
    return {"macro_f1": "macro-F1"}.get(score, score.replace("_", " "))


def ended_cell(trial: TrialRow | TrialScores) -> str:
    """`stopped at epoch 5`, or `stopped at epoch 5 (paper)` of a named point."""
    return trial.ended + (f" ({trial.point})" if trial.point else "")


def epoch_cell(trial: TrialRow | TrialScores) -> str:
    """The best epoch; a dash where no epoch has a value."""
    return "–" if trial.best_epoch is None else str(trial.best_epoch)


def against_cell(trial: TrialRow | RankedTrial) -> str:
    """p against the best trial, `noise`, a dash; `best` of the best itself."""
    return p_cell(trial.against_best) if trial.against_best else "best"


def difference_cells(pair: Pair) -> list[str]:
    """Difference, interval, p, McNemar's p and faces of a comparison; the reason where there is none."""
    difference = pair.difference
    if isinstance(difference, NoDifference):
        return ["–", "–", "–", "–", difference.missing]
    decisive = difference.decisive
    interval = f"[{decisive.low:+.4f}, {decisive.high:+.4f}]"
    p = p_cell(difference)
    faces = difference.faces if difference.resampled == INDEPENDENT else f"{difference.faces}; {difference.resampled}"
    return [f"{decisive.difference:+.4f}", interval, p, f"{difference.mcnemar.p:.2g}", faces]


def _state_cell(trial: TrialRow | TrialScores) -> str:
    """`ended_cell` where a terminal has no room for the epoch, which `_epoch_cell` has."""
    return trial.state + (f" ({trial.point})" if trial.point else "")


def _epoch_cell(trial: TrialRow | TrialScores) -> str:
    return f"{epoch_cell(trial)} of {trial.epochs}"


def _side_by_side(summaries: Sequence[SweepSummary]) -> RenderableType:
    names, columns = [summary.sweep for summary in summaries], [facts(summary) for summary in summaries]
    shown = table(["", *names], num_text=1 + len(names))
    for heading in dict.fromkeys(heading for column in columns for heading in column):
        shown.add_row(heading, *(column.get(heading, "–") for column in columns))
    return shown


def _reasons(reasons: Sequence[str]) -> list[RenderableType]:
    from rich.text import Text

    return [Text(f"{UNLIKE}: {line}", "yellow") for line in reasons]


def _pairs(pairs: Sequence[Pair], score: str) -> RenderableType:
    columns = ["trials", f"{score_title(score)}, 1st − 2nd", "p", "McNemar p", "on"]
    shown = table(columns, num_text=1, wraps=["on", columns[1]])
    for pair in pairs:
        difference, interval, p, mcnemar, faces = difference_cells(pair)
        if not isinstance(pair.difference, NoDifference):
            difference += f" {interval}"
        shown.add_row(f"{pair.a} {pair.b}", difference, p, mcnemar, faces)
    return shown


def _trials(trials: Sequence[RankedTrial]) -> RenderableType:
    shown = table(["trial", "ended", "best epoch", "value", AGAINST], num_text=2, wraps=["ended"])
    for trial in trials:
        shown.add_row(trial.name, _state_cell(trial), _epoch_cell(trial), f"{trial.value:.4f}", against_cell(trial))
    return shown


def _hparams(trials: Sequence[tuple[str, Hparams]]) -> RenderableType:
    """Of (name, hparams) of each trial."""
    from rich.text import Text

    shown = table(["trial", HPARAMS], num_text=2)
    for trial, hparams in trials:
        shown.add_row(trial, Text("  ".join(f"{name}={short(value)}" for name, value in hparams.items())))
    return shown


def _other_hparams(compared: ComparedTrials) -> RenderableType:
    names = [compared.a.name, compared.b.name]
    shown = table(["hparams that differ", *names], num_text=3)
    for hparam, values in compared.hparams.items():
        shown.add_row(hparam, *("–" if value is None else short(value) for value in values))
    shown.caption = f"{compared.num_same} others are the same"
    return shown


def _heading(score: str) -> str:
    titles = {"val_balanced_accuracy": "balanced", "val_macro_f1": "macro-F1"}
    return titles.get(score, score.removeprefix("val_"))


def _cells(values: Mapping[str, float | None], names: Sequence[str], digits: int = 4) -> list[str]:
    return [cell(values.get(name), digits) for name in names]
