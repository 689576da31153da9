"""The command line: one short function per verb. A verb imports its room only when it is called.

Exit codes: 0 done; 1 failed at run time; 2 what the user gave is wrong (one line says what); 130 interrupted (Ctrl-C), 143 (SIGTERM).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="fersweep",
    help="Hyperparameter search for facial expression recognition, on Ray, with MLflow records.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Home = Annotated[
    Path, typer.Option(envvar="FERSWEEP_HOME", help="Where sweeps and MLflow records lie.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Data = Annotated[Path, typer.Option(help="A dataset directory made by `fersweep prepare`.")]
Name = Annotated[str, typer.Argument(help="Name of the sweep, or its address in a bucket.")]
TrialNumber = Annotated[int | None, typer.Option(help="Number of the trial; default: the best.")]
Address = Annotated[str | None, typer.Option(help="Address of a running Ray cluster; default: Ray on this machine.")]
Landmarker = Annotated[
    Path | None, typer.Option(help="Path of face_landmarker.task; default: cache, package, download.")
]
RUNS = Path("runs")
USAGE_ERROR: Any = typer.BadParameter.__base__  # Typer brings its own Click and exports only the subclass


def _show(result: Any, render: Any, as_json: bool) -> None:
    """Print a verb's result: JSON alone, or what `render` makes of it."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    from rich.console import Console

    console = Console()
    console.print(render(result))


@app.command()
def demo(home: Home = RUNS) -> None:
    """The whole job on synthetic faces made on the spot: prepare, launch, compare, promote, predict."""
    import shutil

    from rich.console import Console
    from skimage import data, io

    from cluster.session import connect
    from data_pipeline.demo import make_faces
    from results.sweeps import home_option

    say = Console(stderr=True, highlight=False).rule
    sweeps = home / "sweeps"
    name = next(n for n in ("demo", *(f"demo-{i}" for i in range(2, 10_000))) if not (sweeps / n).exists())
    connect(None)  # one Ray for both steps that need it
    say("1 faces: synthetic, warps of one public-domain portrait", align="left")
    faces, portrait = home / "demo" / "faces", home / "demo" / "portrait.png"
    if not faces.exists():
        unfinished = faces.with_name("faces.new")  # a demo that was killed here begins again
        shutil.rmtree(unfinished, ignore_errors=True)
        make_faces(unfinished)
        io.imsave(portrait, data.astronaut(), check_contrast=False)
        unfinished.rename(faces)
    say(f"2 fersweep prepare {faces} --out {home / 'data' / 'demo'}", align="left")
    prepare([faces], out=home / "data" / "demo")
    say(f"3 fersweep launch quick --data {home / 'data' / 'demo'} --name {name}", align="left")
    launch("quick", data=home / "data" / "demo", name=name, home=home)
    say(f"4 fersweep promote {name}", align="left")
    promote(name, home=home)
    say(f"5 fersweep predict {portrait}", align="left")
    predict([portrait], home=home)
    say("done", align="left")
    print(
        "These faces are synthetic: the scores above say that everything works, not how good a model is.\n"
        f"Look at the trials:  .venv/bin/fersweep ui{home_option(home)}\n"
        "With real data:      .venv/bin/fersweep prepare fer2013.csv --out runs/data/fer2013   (README: Getting FER2013)\n"
        "                     .venv/bin/fersweep launch blendshape_dense --data runs/data/fer2013",
        file=sys.stderr,
    )


@app.command()
def prepare(
    sources: Annotated[list[Path], typer.Argument(help="CSV, folder or archive of faces.", metavar="SOURCE...")],
    out: Annotated[Path, typer.Option(help="Directory of the dataset.")],
    workers: Annotated[int | None, typer.Option(help="Landmarker processes; default: one per CPU.", min=1)] = None,
    landmarker: Landmarker = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the stored faces in pixels; default: the source's.")
    ] = None,
    border: Annotated[float, typer.Option(help="Black border on each side, as a share of the side.")] = 0.25,
    size: Annotated[int, typer.Option(help="Side in pixels at which MediaPipe sees a face.")] = 192,
    val_share: Annotated[float, typer.Option(help="Share of train that becomes val if the source has none.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of train that becomes test if the source has none.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the splits that are carved.")] = 0,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset: faces through MediaPipe into Parquet. The same command picks up an interrupted run."""
    from rich.console import Console

    from data_pipeline import describe as description
    from data_pipeline.prepare import prepare as run
    from data_pipeline.progress import bars

    with bars(Console(stderr=True)) as progress:
        run(
            sources,
            out,
            workers=workers,
            landmarker=landmarker,
            image_size=(image_size, image_size) if image_size else None,
            border=border,
            size=size,
            val_share=val_share,
            test_share=test_share,
            seed=seed,
            address=address,
            progress=progress,
        )
    _show(description.describe(out), description.render, as_json)


@app.command()
def describe(dataset: Annotated[Path, typer.Argument(help="A dataset directory.")], as_json: AsJson = False) -> None:
    """Count a dataset's faces per split and class, those lost, and twins."""
    from data_pipeline import describe as description

    _show(description.describe(dataset), description.render, as_json)


@app.command()
def launch(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a sweep file (YAML).", metavar="RECIPE|FILE")],
    data: Data,
    name: Annotated[str | None, typer.Option(help="Name of the sweep; default: the file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="search.num_trials")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="stop.max_epochs")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key, e.g. stop.scheduler=none", metavar="A.B=C")
    ] = None,
    address: Address = None,
    home: Home = RUNS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the resolved sweep, stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a sweep: search the hparams of a trainable on a dataset. One with `then:` is followed by a second one."""
    from cluster.launch import dry
    from cluster.launch import launch as run
    from cluster.sweep import read_sweep
    from cluster.then import go_on

    options = {"name": name, "search__num_trials": trials, "stop__max_epochs": max_epochs}
    sweep = read_sweep(recipe, set_ or [], **options)
    if dry_run:
        print(dry(sweep, data, home, address))
        return
    outcome = run(sweep, data, home, address)
    _report(outcome, as_json, home)
    if outcome.following is not None:
        _report(go_on(outcome, outcome.following, address), as_json, home)


@app.command()
def resume(
    name: Name,
    trials: Annotated[str | None, typer.Option(help="How many trials in all, or +N more.")] = None,
    max_epochs: Annotated[
        int | None, typer.Option(help="Epochs of a trial; finished ones whose checkpoint was kept go on.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials once more.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="What may change, e.g. resources.cpus=2", metavar="A.B=C")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset's directory, if it was moved.")] = None,
    address: Address = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Go on with an interrupted sweep where it stopped, or extend a finished one."""
    from cluster.resume import resume as run
    from cluster.then import go_on
    from results.sweeps import find_sweep

    outcome = run(
        find_sweep(home, name),
        address,
        trials=trials,
        max_epochs=max_epochs,
        overrides=set_,
        data=data,
        retry_failed=retry_failed,
    )
    _report(outcome, as_json, home)
    if outcome.following is not None:
        second = go_on(outcome, outcome.following, address, data=data, retry_failed=retry_failed)
        _report(second, as_json, home)


def _report(outcome: Any, as_json: bool, home: Path) -> None:
    """After a sweep: its best trials and what is next, or why it ended early and how to go on (exit code 1, 130 or 143).

    Of two sweeps (`then:`) JSON has the second one.
    """
    from results import compare as comparison
    from results.sweeps import home_option, resume_command

    name, where, again = outcome.directory.name, home_option(home), resume_command(outcome.directory)
    if outcome.missing:
        print(outcome.missing, file=sys.stderr)
    if outcome.state != "finished":
        if outcome.error is not None:
            _complain(outcome.error, 1)
        print(f"{outcome.state}; nothing is lost; go on with: {again}", file=sys.stderr)
        raise typer.Exit(1 if outcome.error is not None else 128 + (outcome.signal or 2))
    following = outcome.following
    if following is None or not as_json:
        _show(comparison.compare(outcome.directory, top=5), comparison.render, as_json)
    if following is not None:
        share = "all" if following.task.fraction == 1 else f"{following.task.fraction:g}"
        best, epochs = following.search.num_trials, following.stop.max_epochs
        print(f"then: {following.name}, the best {best} on {share} of train, {epochs} epochs at most", file=sys.stderr)
        return
    print(
        f"next: fersweep compare {name}{where} · fersweep promote {name}{where} · fersweep ui{where}", file=sys.stderr
    )


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of the sweep; default: all of them.")] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="Bring MLflow level with the journal of each sweep that is not running.")
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say where each sweep stands: running, interrupted, failed or finished; its trials, and how to go on."""
    from results import status as reading

    found, failed = reading.status(home, name), False
    for line, well in reading.sync(found) if sync else ():
        print(line, file=sys.stderr)
        failed |= not well
    _show(found, lambda sweeps: reading.render(sweeps, home), as_json)
    if failed:
        raise typer.Exit(1)


@app.command()
def compare(
    name: Name,
    top: Annotated[int, typer.Option(help="Number of trials to show.", min=1)] = 10,
    trees: Annotated[bool, typer.Option("--trees", help="Also train gradient-boosted trees as a baseline.")] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare a sweep's trials: the best ones, the hparams that varied, baselines, recall of each class."""
    from results import compare as comparison
    from results import evaluate as evaluation
    from results.sweeps import find_sweep

    directory = find_sweep(home, name)
    baseline = evaluation.tree_baseline_of(directory) if trees else None
    _show(comparison.compare(directory, top=top, trees=baseline), comparison.render, as_json)


@app.command()
def promote(
    name: Name,
    trial: TrialNumber = None,
    alias: Annotated[str, typer.Option(help="Alias of the registered version.")] = "champion",
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Judge a sweep's best checkpoint once on test and register it in MLflow under an alias."""
    from results import evaluate as evaluation
    from results import promote as promotion
    from results.sweeps import find_sweep

    promoted = promotion.promote(find_sweep(home, name), alias=alias, trial=trial)
    title = (
        f"{promoted['model']} version {promoted['version']} is now {alias}: trial {promoted['trial']}, judged on test"
    )
    _show(promoted, lambda found: evaluation.render(found["figures"], title), as_json)


@app.command()
def evaluate(
    name: Name,
    trial: TrialNumber = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    tta: Annotated[
        bool, typer.Option("--tta", help="Also judge answers averaged over each face and its mirror image.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Draw there what the net looks at in faces of val.", metavar="DIR"),
    ] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Judge a trial's best checkpoint on a split of the sweep's dataset, with 95 % intervals and the baseline."""
    from results import evaluate as evaluation
    from results.sweeps import find_sweep

    found = evaluation.evaluate_trial(find_sweep(home, name), trial, split, tta, explain)
    _show(found, evaluation.render, as_json)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Photos.", metavar="IMAGE...")],
    alias: Annotated[str, typer.Option(help="Alias of the registered model.")] = "champion",
    landmarker: Landmarker = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say what the champion sees in the faces of photos."""
    from results import predict as prediction

    found = prediction.predict(images, prediction.champion(home, alias), landmarker)
    _show(found, prediction.render, as_json)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
    home: Home = RUNS,
) -> None:
    """Open the MLflow UI on this machine's loopback address."""
    from results.ui import ui as run

    run(home, port)


def main() -> None:
    """Run the command line; turn every error into one line and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")
    from data_pipeline.errors import InputError

    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _complain(error, 2)
    except USAGE_ERROR as error:
        code = _complain(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted", 130)
    except (RuntimeError, OSError) as error:
        if os.environ.get("FERSWEEP_DEBUG"):
            raise
        code = _complain(error, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: object, code: int) -> int:
    if str(message):
        print(f"fersweep: {' '.join(str(message).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
