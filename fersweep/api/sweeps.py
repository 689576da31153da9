"""What is done with sweeps that were launched, and what can be: `status`, `stop`, `compare`, `report`, `recipes`, `rm`, `mv`, `gc`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.api.settings import Place, Results, home_of, listed, path_of, quiet_process, say, write
from fersweep.common.errors import InputError
from fersweep.common.text import printable

if TYPE_CHECKING:
    from fersweep.cluster.stop import Stopped
    from fersweep.results.compare.comparison import Comparison
    from fersweep.results.compare.data import ComparedSweeps, ComparedTrials, SweepTrials
    from fersweep.results.dashboards.status import SweepStatus
    from fersweep.results.housekeeping.collection import Collected
    from fersweep.results.housekeeping.removal import Removal
    from fersweep.results.housekeeping.renaming import Renaming
    from fersweep.results.report.page import WrittenReport
    from fersweep.search_spaces.sweep_file.recipe_list import Recipe


def recipes() -> Results[Recipe]:
    """The shipped recipes: `name`, `about`, `task`, `trainable`, `needs`, `time`, `hardware`."""
    from fersweep.search_spaces.sweep_file import recipe_list

    return Results(recipe_list.recipes())


def recipe(name: str) -> dict[str, Any]:
    """The content of a recipe's sweep file, to be changed and launched.

        mine = fersweep.recipe("cnn")
        mine["stop"]["max_epochs"] = 20
        fersweep.launch(mine, "runs/data/fer2013", name="mine")

    Raises InputError with the nearest known name.
    """
    from fersweep.search_spaces.sweep_file import yaml_file

    return yaml_file.read(recipe_path(name))


def recipe_path(name: str) -> Path:
    from fersweep.search_spaces import recipe

    try:
        return recipe(name)
    except ValueError as error:
        raise InputError(str(error)) from None


def status(name: str | None = None, *, sync: bool = False, home: Place | None = None) -> Results[SweepStatus]:
    """Where each sweep stands: running, interrupted, failed or finished; its trials, its best, and how to go on.

    Args:
        name: of one sweep, or its address in a bucket; None: all of the home.
        sync: bring MLflow level with the journal of each sweep that is not running; `sync` of each says how that went.
        home: where sweeps lie; default: FERSWEEP_HOME, else `runs`.

    Raises InputError where there is no sweep `name`.
    """
    from fersweep.results.dashboards import status as reading
    from fersweep.results.dashboards import sync as syncing

    sweeps = reading.status(home_of(home), name)
    if sync:
        quiet_process()
        sweeps = [synced.sweep for synced in syncing.sync(sweeps)]
    return Results(sweeps)


def stop(name: str, *, home: Place | None = None) -> Stopped:
    """Stop a running sweep, from any machine that sees its home or bucket; its trials are saved, and it can be resumed.

    Returns:
        `sweep`, `state` ("running" where its driver did not end within a minute), `line` in words, `resume`, the command.
        A sweep that does not run is left as it is.
    """
    from fersweep.cluster.stop import stop as run
    from fersweep.results.record.home import find_sweep

    return run(find_sweep(home_of(home), name), say)


def comparison_of(
    *names: str,
    top: int = 10,
    trees: bool = False,
    differences: tuple[str | int, str | int] | None = None,
    html: Place | None = None,
    home: Place | None = None,
) -> Comparison[SweepTrials] | Comparison[ComparedSweeps] | Comparison[ComparedTrials]:
    """What `compare` returns, with what makes tables and a page of it."""
    from fersweep.results.compare.comparison import comparison
    from fersweep.results.evaluate.tree_baseline import tree_baseline_of

    if trees:
        quiet_process()
    pair = None if differences is None else (str(differences[0]), str(differences[1]))
    compared = comparison(home_of(home), names, top, tree_baseline_of if trees else None, pair)
    if html is not None:
        write(Path(html), compared.page())
    return compared


def compare(
    *names: str,
    top: int = 10,
    trees: bool = False,
    differences: tuple[str | int, str | int] | None = None,
    html: Place | None = None,
    home: Place | None = None,
) -> SweepTrials | ComparedSweeps | ComparedTrials:
    """Compare the trials of a sweep, several sweeps, or two trials: scores, what is noise, hparams, baselines.

        fersweep.compare("cnn")                       # SweepTrials: its best trials
        fersweep.compare("cnn", "transfer")           # ComparedSweeps: by their best
        fersweep.compare("cnn:3", "cnn:7")            # ComparedTrials

    Args:
        names: sweeps, or trials as SWEEP:NUMBER.
        top: number of trials.
        trees: also train boosted trees as a baseline; of one sweep alone.
        differences: two trials of the one sweep that is named.
        html: a file to write it to, too, as a page.
        home: where sweeps lie; default: FERSWEEP_HOME, else `runs`.

    Raises InputError where there is no such sweep or trial, or they cannot be compared.
    """
    return comparison_of(*names, top=top, trees=trees, differences=differences, html=html, home=home).result


def report(
    name: str, out: Place | None = None, *, trees: bool = False, faces: bool = True, home: Place | None = None
) -> WrittenReport:
    """Write a sweep's story as one HTML page that opens offline; its MLflow run gets one of still pictures.

    Args:
        name: of the sweep, or its address in a bucket.
        out: where to write it, as one file to pass on; default: `report.html` in the sweep's directory.
        trees: also train boosted trees as a baseline.
        faces: show the faces that the best trial got wrong.
        home: where sweeps lie; default: FERSWEEP_HOME, else `runs`.

    Returns:
        `report`, the page's path; `bytes`, `seconds`, and `mlflow`: whether MLflow has its page.
    """
    from fersweep.results.record.home import find_sweep

    return report_of(find_sweep(home_of(home), name), out, trees, faces)


def report_of(directory: Path, out: Place | None, trees: bool, faces: bool) -> WrittenReport:
    """`report` of a sweep's directory."""
    from fersweep.results.evaluate.tree_baseline import tree_baseline_of
    from fersweep.results.report.page import render_still, write_report
    from fersweep.results.tracking import report_upload

    quiet_process()
    baseline = tree_baseline_of(directory) if trees else None
    written = write_report(directory, path_of(out), baseline, faces)
    say(f"written: {printable(written.report)}")
    return replace(written, mlflow=report_upload.upload(directory, render_still(directory, baseline)))


def rm(
    names: str | Sequence[str], *, dry_run: bool = False, local: bool = False, home: Place | None = None
) -> Results[Removal]:
    """Remove sweeps: directory, checkpoints, also those in a bucket, and runs in MLflow; registered versions stay.

    Args:
        names: one sweep, or several.
        dry_run: say what would be removed, and remove nothing.
        local: leave MLflow and the bucket as they are.
        home: where sweeps lie; default: FERSWEEP_HOME, else `runs`.

    Raises InputError where a sweep runs, or there is none of the name; nothing is removed then.
    """
    from fersweep.results.housekeeping import removal

    return Results(removal.rm(listed(names), home_of(home), dry_run=dry_run, local=local, tell=say))


def mv(old: str, new: str, *, dry_run: bool = False, home: Place | None = None) -> Renaming:
    """Rename a sweep, also in its bucket and in MLflow; a resume goes on in the same runs. Arguments as of `rm`."""
    from fersweep.results.housekeeping import renaming

    return renaming.mv(old, new, home_of(home), dry_run, say)


def gc(*, dry_run: bool = False, caches: bool = False, runs: bool = False, home: Place | None = None) -> Collected:
    """Remove what nothing needs: what killed processes have left in the home, in MLflow and on this machine.

    Args:
        dry_run: say what would be removed, and remove nothing.
        caches: also what only saves time: staged data, and what MediaPipe saw in faces.
        runs: also MLflow's runs of sweeps that are not in this home.
        home: where sweeps lie; default: FERSWEEP_HOME, else `runs`.
    """
    from fersweep.results.housekeeping import collection

    return collection.gc(home_of(home), dry_run, caches, runs, say)
