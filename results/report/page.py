"""A sweep on one page: `fersweep report NAME` writes `report.html` into the sweep's directory.

That page takes plotly.js, 4.8 MB, from a file that all sweeps of the home share; with `--out FILE` it is in the page. In
MLflow is a page with still pictures, since a page that MLflow shows can load no other file.

Made of the journal and the predictions on val, so at any time: while a sweep runs, after it was interrupted, on a
machine that has neither its checkpoints nor its faces. The recorder makes it when a sweep ends.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersweep.common.display.as_json import AsJson
from fersweep.common.display.page import Library, Section, folded, html_table, page, subheading, tiles
from fersweep.common.display.tables import duration, short
from fersweep.common.errors import InputError
from fersweep.common.files import cannot_write, check_writable, write_whole
from fersweep.common.text import masked
from fersweep.results.compare.data import SweepTrials
from fersweep.results.compare.objectives import cost_cells, cost_columns, front_cell, front_heading, infeasible_lines
from fersweep.results.compare.tables import AGAINST, by_state, ended_cell, epoch_cell, noise_note
from fersweep.results.compare.trials import compare_recorded
from fersweep.results.record.drivers import is_driven, last_session
from fersweep.results.record.home import check_links, home_option
from fersweep.results.record.journal import read_events, trial_name
from fersweep.results.record.ranking.budget import spending
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import Timeline
from fersweep.results.report import finalists, front, learning_curves, lineage, parameters, still_pictures, workers
from fersweep.results.report.data import ReportData
from fersweep.results.report.library import shared_library
from fersweep.results.scores import charts
from fersweep.results.scores.figures import Figures, read_kept
from fersweep.results.scores.paired import p_cell

FILE = "report.html"
TOP = 10


@dataclass(frozen=True)
class WrittenReport(AsJson):
    """The name of a sweep, the path of its page, its size, how long it took to make, and whether its MLflow run has one, too."""

    sweep: str
    report: str
    bytes: int
    seconds: float
    mlflow: bool = False


def write_report(
    sweep_dir: Path, out: Path | None = None, trees: Figures | None = None, faces: bool = True
) -> WrittenReport:
    """Write the page of a sweep, whole or not at all.

    Args:
        out: a file that needs no other; None: `report.html` in the sweep's directory, which needs the home's plotly.js.
        trees: figures of boosted trees on the sweep's task; None: those in the sweep's `trees.json`, if there are any.
        faces: whether faces of the dataset may be on the page.

    Raises:
        InputError: `out` cannot be written. RuntimeError: the disk is full or damaged.
    """
    start, sweep_dir = time.perf_counter(), Path(sweep_dir)
    if out is None:
        check_links(sweep_dir)
    path = Path(out) if out else sweep_dir / FILE
    if path.parent.is_dir():  # before what takes long
        check_writable(path.parent, str(path))
    try:
        library = None if out else shared_library(sweep_dir, _otherwise(sweep_dir))
        content = render(sweep_dir, trees, faces, library).encode()
        write_whole(path, content, sync=False)
    except OSError as error:
        raise cannot_write(path, error) from None
    seconds = round(time.perf_counter() - start, 2)
    return WrittenReport(sweep_dir.name, str(path), len(content), seconds)


def render(sweep_dir: Path, trees: Figures | None = None, faces: bool = True, library: Library | None = None) -> str:
    """The page as HTML. `library`: as of `display.page.page`."""
    data, compared, state, lead = _read(sweep_dir, trees)
    parts = [
        _head(data, state),
        _top(compared),
        *front.sections(data),
        *finalists.sections(data),
        *learning_curves.sections(data),
        *lineage.sections(data),
        *parameters.sections(data),
        *workers.sections(data),
        *_best(data, faces),
        _origin(data.sweep),
    ]
    return page(f"Sweep {data.sweep.name}", lead, parts, library)


def render_still(sweep_dir: Path, trees: Figures | None = None) -> str:
    """A page of tables and still pictures, without faces: what MLflow keeps of the report."""
    data, compared, state, lead = _read(sweep_dir, trees)
    more = (
        f" All charts, which answer to the mouse, are in {Path(sweep_dir) / FILE}; as one file: "
        f"{_command(sweep_dir)} --out FILE."
    )
    parts = [
        _head(data, state),
        *front.still(data),
        *still_pictures.sections(data),
        _top(compared),
        *finalists.still_sections(data),
        *lineage.tables(data),
        *workers.tables(data),
        _origin(data.sweep),
    ]
    return page(f"Sweep {data.sweep.name}", lead + more, parts)


def _command(sweep_dir: Path) -> str:
    return f"fersweep report {Path(sweep_dir).name}{home_option(Path(sweep_dir).parents[1])}"


def _otherwise(sweep_dir: Path) -> str:
    command = _command(sweep_dir)
    return f"In its place the page is written anew by `{command}`; as one file, to pass on, by `{command} --out FILE`."


def _read(sweep_dir: Path, trees: Figures | None) -> tuple[ReportData, SweepTrials, str, str]:
    """What pages are made of, the sweep's state, and the sentence that begins a page."""
    recorded = load_sweep(sweep_dir)
    sweep = recorded.sweep
    compared = compare_recorded(recorded, TOP, trees or _kept_trees(sweep_dir, sweep))
    metric = sweep.metric
    baselines = {row.name: row.scores[metric] for row in compared.baselines if metric in row.scores}
    data = ReportData(recorded, Timeline(read_events(sweep_dir / "journal.jsonl")), baselines)
    state = _state(recorded)
    lead = (
        f"{compared.trainable} on {sweep.dataset.name} ({', '.join(sweep.classes)}), searched by the "
        f"{' and the '.join(f'{mode} of {name}' for name, mode in compared.objectives.items())} on val, {compared.faces}. The sweep is {state}; as of {_last_event(data)}."
    )
    return data, compared, state, lead


def _state(recorded: RecordedSweep) -> str:
    if recorded.record.action in ("finished", "failed", "interrupted"):
        return recorded.record.action
    last = last_session(recorded.directory)
    return "running" if is_driven(recorded.directory, recorded.storage, last) else "interrupted"


def _last_event(data: ReportData) -> str:
    last = data.timeline.last
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(last)) if last else "before its first trial"


def _kept_trees(sweep_dir: Path, sweep: SweepJson) -> Figures | None:
    """The figures that `compare --trees` left behind, if they are of this sweep's data and classes."""
    key, figures = read_kept(sweep_dir / "trees.json") or ({}, None)
    same = key.get("fingerprint") == sweep.dataset.fingerprint and key.get("classes") == sweep.classes
    return figures if same else None


def _head(data: ReportData, state: str) -> Section:
    record, timeline = data.record, data.timeline
    facts: list[tuple[str, str]] = []
    if data.ranked:
        best = data.recorded.best(data.ranked[0])
        assert best is not None  # ranked trials have a best epoch
        facts.append(
            (f"{best[data.metric]:.4f}", f"best {data.metric}, trial {data.ranked[0].name}, epoch {best['epoch']:.0f}")
        )
    if front := data.recorded.front():
        facts.append((str(len(front.trials)), f"trials on the front; knee: {front.knee.name}"))
    facts += [(f"{value:.4f}", f"baseline: {name}") for name, value in data.baselines.items()]
    search, num_trials = record.derived(SearchTotals), data.sweep.asked.search.num_trials
    budget, final = spending(record, data.sweep.asked), data.recorded.final
    facts += [
        (
            f"{search.num_ended} of {num_trials}",
            f"trials ended; {by_state(record.count(repeats=False), 'none sampled yet')}",
        ),
        *([(final.progress, "repeats of finalists")] if final else []),
        *((part.text, f"budget{', spent' if part.reached else ''}: {part.key}") for part in budget),
        (str(record.num_epochs), "epochs of all trials"),
        (duration(timeline.active_s), f"active time; {timeline.num_at_once} trials at once at most"),
        *([(duration(planned.sweep_s), f"planned ({planned.source})")] if (planned := data.sweep.planned) else []),
        (state, f"state; sessions: {record.sessions}"),
    ]
    return Section("At a glance", tiles(facts))


def _top(compared: SweepTrials) -> Section:
    trials, metric = compared.trials, compared.metric
    if not trials:
        return Section("Best trials", note="No trial has a value yet.")
    scores = list(dict.fromkeys(name for row in trials for name in row.scores if name != metric))
    names = list(dict.fromkeys(name for row in trials for name in row.hparams))
    titles = [name.removeprefix("val_") for name in scores]
    costs = cost_columns(compared)
    columns = ["trial", "ended", *front_heading(compared), metric, "best epoch", *titles, *costs, AGAINST]
    rows: list[list[Any]] = []
    for row in trials:
        first = [
            trial_name(row.trial),
            ended_cell(row),
            *front_cell(compared, row),
            f"{row.value:.4f}",
            epoch_cell(row),
        ]
        others = [f"{row.scores[name]:.4f}" if name in row.scores else None for name in scores]
        rows.append([*first, *others, *cost_cells(row, costs), p_cell(row.against_best)])
    html = html_table(columns, rows)
    if names:  # a column a trial: there may be more hparams than a page is wide
        values = [
            [name, *(short(row.hparams[name]) if name in row.hparams else None for row in trials)] for name in names
        ]
        html += subheading("Their hparams", "those that differ between trials; the others are in the sweep file below")
        html += html_table(["hparam", *(trial_name(row.trial) for row in trials)], values)
    return Section(
        "Best trials",
        html,
        f"The {len(rows)} best trials. {''.join(f'{note}. ' for note in [*compared.notes, *infeasible_lines(compared)])}"
        f"{noise_note(compared)}",
    )


def _best(data: ReportData, faces: bool) -> list[Section]:
    """The best trial's hparams, and its answers on val as far as they, the dataset and its faces are there."""
    if not data.ranked:
        return []
    trial = data.ranked[0]
    heading = f"The best trial, {trial.name}"
    hparams = folded("All its hparams", json.dumps(data.sweep.named(trial), indent=1))
    answers = data.recorded.val_predictions(trial)
    if answers is None:
        return [Section(heading, hparams, "Its answers on val are not there, or not yet.")]
    first = Section(heading, hparams, "What follows are its answers on val, at its best epoch.")
    try:
        drawn = charts.sections(data.sweep.classes, *answers, data.sweep.task(), faces=faces)
    except (InputError, OSError, ValueError) as error:  # the dataset is gone, was changed, or is another
        why = Section("Faces", note=f"Not shown: {str(error).splitlines()[0]}")
        drawn = [*charts.sections(data.sweep.classes, *answers), why]
    return [first, *drawn]


def _origin(sweep: SweepJson) -> Section:
    import yaml

    dataset = sweep.dataset
    rows = [
        ["command", sweep.command],
        ["created", sweep.created],
        ["git commit", sweep.git_commit],
        ["dataset", dataset.name],
        ["data fingerprint", dataset.fingerprint],
        ["faces", sweep.num_faces if sweep.num_train is not None else None],
        ["python", sweep.python],
        *([name, version] for name, version in sweep.versions.items()),
    ]
    text = yaml.safe_dump(sweep.asked.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    html = html_table(["", ""], rows) + folded("The sweep file, with all defaults", masked(text))
    return Section("Where it comes from", html, "What it takes to run the same sweep again.")
