"""A sweep on one page: `fersweep report NAME` writes `report.html` into the sweep's directory, and into MLflow.

Read off the journal and the predictions on val, so that it can be made at any time: while a sweep runs, after it was
interrupted, on a machine that has neither its checkpoints nor its faces. The recorder has it made when a sweep ends.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fersweep.common.display.page import Section, folded, html_table, page, tiles
from fersweep.common.display.tables import short
from fersweep.common.errors import InputError
from fersweep.common.files import is_held, write_whole
from fersweep.results.compare.trials import compare
from fersweep.results.record.journal import SweepRecord, read_events, trial_name
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import Timeline
from fersweep.results.report import learning_curves, parameters, workers
from fersweep.results.report.data import ReportData
from fersweep.results.report.workers import span
from fersweep.results.scores import charts
from fersweep.results.scores.figures import Figures
from fersweep.results.scores.paired import told

FILE = "report.html"
TOP = 10
AGAINST = "p vs best"


def write_report(
    sweep_dir: Path, out: Path | None = None, trees: Figures | None = None, faces: bool = True
) -> dict[str, Any]:
    """Write the page of a sweep to `out` (None: `report.html` in its directory), whole or not at all.

    Args:
        trees: what `trees.tree_baseline` returned; None: what it left in the sweep's directory, if anything.
        faces: whether faces of the dataset may be on the page.

    Returns:
        {sweep, report (its path), bytes, seconds}. Raises InputError if `out` cannot be written.
    """
    start, sweep_dir = time.perf_counter(), Path(sweep_dir)
    path = Path(out) if out else sweep_dir / FILE
    content = render(sweep_dir, trees, faces).encode()
    try:
        write_whole(path, content, sync=False)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    seconds = round(time.perf_counter() - start, 2)
    return {"sweep": sweep_dir.name, "report": str(path), "bytes": len(content), "seconds": seconds}


def render(sweep_dir: Path, trees: Figures | None = None, faces: bool = True) -> str:
    """The page as HTML."""
    recorded = load_sweep(sweep_dir)
    sweep, record = recorded.sweep, recorded.record
    found = compare(sweep_dir, TOP, trees or _kept_trees(sweep_dir, sweep))
    metric = sweep.metric
    baselines = {one["name"]: one["scores"][metric] for one in found["baselines"] if metric in one["scores"]}
    searched = ReportData(sweep, record, Timeline(read_events(sweep_dir / "journal.jsonl")), baselines)
    state = _state(sweep_dir, record)
    lead = (
        f"{found['trainable']} on {sweep.dataset.name} ({', '.join(sweep.classes)}), searched by the "
        f"{found['mode']} of {metric} on val, {found['faces']}. The sweep is {state}; as of {_last_event(searched)}."
    )
    parts = [
        _head(searched, state),
        _top(found),
        *learning_curves.sections(searched),
        *parameters.sections(searched),
        *workers.sections(searched),
        *_best(recorded, searched, faces),
        _origin(sweep),
    ]
    return page(f"Sweep {sweep.asked.name}", lead, parts)


def _state(sweep_dir: Path, record: SweepRecord) -> str:
    if record.action in ("finished", "failed", "interrupted"):
        return record.action
    return "running" if is_held(sweep_dir / "driver.lock") else "interrupted"


def _last_event(searched: ReportData) -> str:
    at = searched.course.last
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) if at else "before its first trial"


def _kept_trees(sweep_dir: Path, sweep: SweepJson) -> Figures | None:
    """The baseline that `compare --trees` left behind, if it is of this sweep's data and classes."""
    try:
        kept = json.loads((sweep_dir / "trees.json").read_text())
        same = kept["key"]["fingerprint"] == sweep.dataset.fingerprint and kept["key"]["classes"] == sweep.classes
        return Figures.from_json(kept["figures"]) if same else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _head(of: ReportData, state: str) -> Section:
    counts, course = of.record.count(), of.course
    facts = []
    if of.ranked:
        best = of.ranked[0].best(of.metric, of.mode)
        assert best is not None  # ranked trials have a best epoch
        facts.append(
            (f"{best[of.metric]:.4f}", f"best {of.metric}, trial {of.ranked[0].name}, epoch {best['epoch']:.0f}")
        )
    facts += [(f"{value:.4f}", f"baseline: {name}") for name, value in of.baselines.items()]
    asked = of.sweep.asked.search.num_trials
    ended = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    facts += [
        (
            f"{of.record.num_ended} of {max(asked, len(of.record.trials))}",
            f"trials ended; {ended or 'none sampled yet'}",
        ),
        (str(of.record.num_epochs), "epochs of all trials"),
        (span(course.active_s), f"active time; {course.num_at_once} trials at once at most"),
        (state, f"state; sessions: {of.record.sessions}"),
    ]
    return Section("At a glance", tiles(facts))


def _top(found: dict[str, Any]) -> Section:
    if not found["trials"]:
        return Section("Best trials", note="No trial has a value yet.")
    scores = list(dict.fromkeys(name for row in found["trials"] for name in row["scores"] if name != found["metric"]))
    names = list(dict.fromkeys(name for row in found["trials"] for name in row["hparams"]))
    columns = [
        "trial",
        "state",
        found["metric"],
        "best epoch",
        *(name.removeprefix("val_") for name in scores),
        AGAINST,
        *names,
    ]
    rows = []
    for row in found["trials"]:
        point = f" ({row['point']})" if row["point"] else ""
        first = [
            trial_name(row["trial"]),
            row["state"] + point,
            f"{row['value']:.4f}",
            f"{row['best_epoch']}/{row['epochs']}",
        ]
        values = [row["hparams"].get(name) for name in names]
        hparams = [
            value if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)
            for value in values
        ]
        others = [f"{row['scores'][name]:.4f}" if name in row["scores"] else None for name in scores]
        rows.append([*first, *others, told(row["against_best"]), *hparams])
    return Section(
        "Best trials",
        html_table(columns, rows),
        f"The {len(rows)} best trials, and the hparams that differ between trials; the others are in the sweep file below. "
        f"{AGAINST}: of the difference from the first on the same faces of val (paired bootstrap, corrected for being several "
        "comparisons); noise: 0.05 or more.",
    )


def _text(value: Any) -> str | None:
    return None if value is None else short(value)


def _best(recorded: RecordedSweep, of: ReportData, faces: bool) -> list[Section]:
    """The best trial's hparams, and its answers on val as far as they, the dataset and its faces are there."""
    if not of.ranked:
        return []
    trial = of.ranked[0]
    heading = f"The best trial, {trial.name}"
    hparams = folded("All its hparams", json.dumps(trial.hparams, indent=1))
    answers = recorded.val_predictions(trial)
    if answers is None:
        return [Section(heading, hparams, "Its answers on val are not there, or not yet.")]
    first = Section(heading, hparams, "What follows are its answers on val, at its best epoch.")
    try:
        made = charts.sections(of.sweep.classes, *answers, of.sweep.task(), faces=faces)
    except (InputError, OSError, ValueError) as error:  # the dataset is gone, was changed, or is another
        why = Section("Faces", note=f"Not shown: {str(error).splitlines()[0]}")
        made = [*charts.sections(of.sweep.classes, *answers), why]
    return [first, *made]


def _origin(sweep: SweepJson) -> Section:
    import yaml

    dataset = sweep.dataset
    rows = [
        ["command", sweep.command],
        ["created", sweep.created],
        ["git commit", sweep.git_commit],
        ["dataset", dataset.name],
        ["data fingerprint", dataset.fingerprint],
        ["faces", f"{sweep.num_train} train, {sweep.num_val} val" if sweep.num_train is not None else None],
        ["python", sweep.python],
        *([name, version] for name, version in sweep.versions.items()),
    ]
    text = yaml.safe_dump(sweep.asked.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    html = html_table(["", ""], rows) + folded("The sweep file, with all defaults", text)
    return Section("Where it comes from", html, "What it takes to run the same sweep again.")
