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
Model = Annotated[
    str,
    typer.Argument(
        help="A sweep (its best trial), SWEEP:TRIAL, an alias or version of the registry, a checkpoint's directory, "
        "FILE.onnx, or FILE.py:FUNCTION."
    ),
]
Alias = Annotated[str, typer.Option(help="Alias of the registered version.")]
TrialNumber = Annotated[int | None, typer.Option(help="Number of the trial; default: the best.")]
Address = Annotated[str | None, typer.Option(help="Address of a running Ray cluster; default: Ray on this machine.")]
Landmarker = Annotated[
    Path | None, typer.Option(help="Path of face_landmarker.task; default: cache, package, download.")
]
RUNS = Path("runs")
READ, SEE, SPLIT = "What is read", "What is seen in a face", "Who learns and who tests"  # groups of prepare's options
USAGE_ERROR: Any = typer.BadParameter.__base__  # Typer brings its own Click and exports only the subclass


def _show(result: Any, render: Any, as_json: bool) -> None:
    """Print a verb's result: JSON alone, or what `render` makes of it."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    from rich.console import Console

    console = Console()
    console.print(render(result))


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so."""
    from fersweep.common.errors import InputError
    from fersweep.common.files import write_whole

    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    print(f"written: {path}", file=sys.stderr)


@app.command()
def demo(home: Home = RUNS) -> None:
    """The whole job on synthetic faces made on the spot: prepare, launch, compare, promote, predict."""
    from rich.console import Console
    from skimage import data, io

    from fersweep.common.files import new_directory
    from fersweep.common.ray_connection import connect
    from fersweep.data_pipeline.sources.demo_faces import make_faces
    from fersweep.results.record.home import home_option

    say = Console(stderr=True, highlight=False).rule
    sweeps = home / "sweeps"
    name = next(n for n in ("demo", *(f"demo-{i}" for i in range(2, 10_000))) if not (sweeps / n).exists())
    connect(None)  # one Ray for both steps that need it
    say("1 faces: synthetic, warps of one public-domain portrait", align="left")
    faces, portrait = home / "demo" / "faces", home / "demo" / "portrait.png"
    if not faces.exists():
        with new_directory(faces) as unfinished:  # a demo that was killed here begins again
            make_faces(unfinished)
            io.imsave(portrait, data.astronaut(), check_contrast=False)
    say(f"2 fersweep prepare {faces} --out {home / 'data' / 'demo'}", align="left")
    prepare([faces], out=home / "data" / "demo")
    say(f"3 fersweep launch quick --data {home / 'data' / 'demo'} --name {name}", align="left")
    launch("quick", data=home / "data" / "demo", name=name, home=home)
    say(f"4 fersweep promote {name} --alias demo --gate none", align="left")  # no champion of anybody's is replaced
    promote(name, alias="demo", gate=["none"], home=home)
    say(f"5 fersweep predict {portrait} --model demo", align="left")
    predict([str(portrait)], model=["demo"], home=home)
    say("done", align="left")
    print(
        "These faces are synthetic: the scores above say that everything works, not how good a model is.\n"
        f"Look at the trials:  .venv/bin/fersweep ui{home_option(home)}\n"
        "With real data:      .venv/bin/fersweep prepare fer2013.csv --out runs/data/fer2013   (README: Your data)\n"
        "                     .venv/bin/fersweep launch blendshape_dense --data runs/data/fer2013",
        file=sys.stderr,
    )


@app.command()
def prepare(
    sources: Annotated[
        list[Path], typer.Argument(help="CSVs, folders or archives of faces, one or several.", metavar="SOURCE...")
    ],
    out: Annotated[Path, typer.Option(help="Directory of the dataset.")],
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="Of all sources, or given once for each; default: found out.", rich_help_panel=READ
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=LABEL",
            help="What a class of the sources is called here, or drop.",
            rich_help_panel=READ,
        ),
    ] = None,
    crop: Annotated[
        str,
        typer.Option(help="auto: find the face in pictures that are no face already; or none.", rich_help_panel=READ),
    ] = "auto",
    faces: Annotated[
        str, typer.Option(help="Of a picture with several: the largest, or all.", rich_help_panel=READ)
    ] = "largest",
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the stored faces in pixels; default: the sources', at most 128.", rich_help_panel=READ
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(help="Look at each face so many ways, 1 to 4, and take the mean.", rich_help_panel=SEE)
    ] = 1,
    landmarks: Annotated[
        bool, typer.Option("--landmarks", help="Keep the 478 landmarks, too (2.9 kB a face).", rich_help_panel=SEE)
    ] = False,
    augment: Annotated[
        int, typer.Option(help="Altered copies of each train face, for blendshape models.", rich_help_panel=SEE)
    ] = 0,
    pixels_only: Annotated[
        bool, typer.Option("--pixels-only", help="No MediaPipe: for nets of pixels alone.", rich_help_panel=SEE)
    ] = False,
    border: Annotated[
        float, typer.Option(help="Black border on each side, as a share of the side.", rich_help_panel=SEE)
    ] = 0.25,
    size: Annotated[
        int, typer.Option(help="Side in pixels at which MediaPipe sees a face.", rich_help_panel=SEE)
    ] = 192,
    landmarker: Landmarker = None,
    split: Annotated[
        str,
        typer.Option(
            help="auto: the sources' splits, else by subject, else stratified; or official, subject, stratified.",
            rich_help_panel=SPLIT,
        ),
    ] = "auto",
    val_share: Annotated[
        float, typer.Option(help="Share of train that becomes val where there is none.", rich_help_panel=SPLIT)
    ] = 0.1,
    test_share: Annotated[
        float, typer.Option(help="Share of train that becomes test where there is none.", rich_help_panel=SPLIT)
    ] = 0.1,
    folds: Annotated[
        int | None, typer.Option(help="Deal train and val into so many folds (task.fold).", rich_help_panel=SPLIT)
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option(help="Look for near-duplicates and keep them together.", rich_help_panel=SPLIT)
    ] = True,
    seed: Annotated[int, typer.Option(help="Of splits, folds and altered copies.", rich_help_panel=SPLIT)] = 0,
    workers: Annotated[int | None, typer.Option(help="Worker processes; default: one per CPU.", min=1)] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar="FERSWEEP_READINGS",
            help="MediaPipe's readings of earlier runs; default: ~/.cache/fersweep/readings.",
        ),
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset: faces through MediaPipe into Parquet. The same command picks up an interrupted run."""
    from rich.console import Console

    from fersweep.data_pipeline.describe import summary as description
    from fersweep.data_pipeline.prepare.options import Options
    from fersweep.data_pipeline.prepare.preparation import prepare as run
    from fersweep.data_pipeline.prepare.progress import bars
    from fersweep.data_pipeline.sources.labels import read_map

    options = Options(
        image_size=(image_size, image_size) if image_size else None,
        border=border,
        size=size,
        views=views,
        landmarks=landmarks,
        pixels_only=pixels_only,
        crop=crop,  # pyright: ignore[reportArgumentType]
        faces=faces,  # pyright: ignore[reportArgumentType]
        split=split,  # pyright: ignore[reportArgumentType]
        val_share=val_share,
        test_share=test_share,
        folds=folds,
        near_duplicates=near_duplicates,
        augment=augment,
        seed=seed,
        labels=read_map(map_ or []),
    )
    with bars(Console(stderr=True)) as progress:
        manifest = run(
            sources,
            out,
            options,
            formats=format_ or [],
            workers=workers,
            landmarker=landmarker,
            cache=cache,
            address=address,
            progress=progress,
        )
    for name, origin in manifest.get("origins", {}).items():
        for warning in origin["warnings"]:
            print(f"{name}: {warning}", file=sys.stderr)
    _show(description.describe(out), description.render, as_json)


@app.command()
def describe(
    dataset: Annotated[Path, typer.Argument(help="A dataset directory.")],
    html: Annotated[
        Path | None,
        typer.Option("--html", dir_okay=False, help="Also write all there is to see in it as a page.", metavar="FILE"),
    ] = None,
    no_faces: Annotated[bool, typer.Option("--no-faces", help="Leave faces out of the page.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a dataset holds: faces per split and class, those lost, twins, what the scores tell; or show it on a page."""
    from fersweep.data_pipeline.describe import summary as description

    if html is not None:
        from fersweep.data_pipeline.describe.page import render

        _write(html, render(dataset, faces=not no_faces))
    _show(description.describe(dataset), description.render, as_json)


data = typer.Typer(
    help="Check a dataset, write it out for other tools, or compare it with another.", no_args_is_help=True
)
app.add_typer(data, name="data")
Dataset = Annotated[Path, typer.Argument(help="A dataset directory.")]


@data.command("verify")
def data_verify(dataset: Dataset, as_json: AsJson = False) -> None:
    """Check every part against the manifest, and pixels against their names; exit code 1 where something is wrong."""
    from fersweep.data_pipeline.dataset import verify as verification

    found = verification.verify(dataset)
    _show(found, verification.render, as_json)
    if not found["sound"]:
        raise typer.Exit(1)


@data.command("export")
def data_export(
    dataset: Dataset,
    out: Annotated[Path, typer.Argument(help="A new directory.")],
    layout: Annotated[
        str,
        typer.Option(
            "--as", help="csv (Kaggle's layout and a table of scores), numpy (mapped arrays) or imagefolder (PNGs)."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Write a dataset's faces for other tools; `prepare` reads the CSVs and the folders back."""
    from fersweep.data_pipeline.dataset.export import export_dataset

    made = export_dataset(dataset, out, layout)
    _show(
        made, lambda told: f"written: {told['out']}, {told['num_faces']:,} faces: {', '.join(told['files'])}", as_json
    )


@data.command("diff")
def data_diff(
    a: Annotated[Path, typer.Argument(help="A dataset directory.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Say what differs between two datasets: faces, labels, splits, scores, options and sources."""
    from fersweep.data_pipeline.dataset import diff as difference

    _show(difference.diff(a, b), difference.render, as_json)


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
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.launch import dry
    from fersweep.cluster.launch import launch as run
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

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
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.resume import resume as run
    from fersweep.results.record.home import find_sweep

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
    from fersweep.results.compare import trials as comparison
    from fersweep.results.record.home import home_option, resume_command

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
        f"next: fersweep compare {name}{where} · fersweep report {name}{where} · fersweep promote {name}{where} · "
        f"fersweep ui {name}{where}",
        file=sys.stderr,
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
    from fersweep.results.dashboards import status as reading
    from fersweep.results.tracking import sync as sync_module

    found, failed = reading.status(home, name), False
    for line, well in sync_module.sync(found) if sync else ():
        print(line, file=sys.stderr)
        failed |= not well
    _show(found, lambda sweeps: reading.render(sweeps, home), as_json)
    if failed:
        raise typer.Exit(1)


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="A sweep: its trials. Several: by their best. SWEEP:3 SWEEP:7: two trials.", metavar="NAME..."
        ),
    ],
    top: Annotated[int, typer.Option(help="Number of trials to show.", min=1)] = 10,
    trees: Annotated[bool, typer.Option("--trees", help="Also train gradient-boosted trees as a baseline.")] = False,
    differences: Annotated[
        tuple[str, str] | None, typer.Option(help="Two trials of the sweep, or SWEEP:TRIAL each.", metavar="A B")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", dir_okay=False, help="Also write it as a page.", metavar="FILE")
    ] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare the trials of a sweep, several sweeps, or two trials: scores, what is noise, hparams, baselines."""
    from fersweep.results.compare.comparison import comparison
    from fersweep.results.evaluate.tree_baseline import tree_baseline_of

    compared = comparison(home, names, top, tree_baseline_of if trees else None, differences)
    if html is not None:
        _write(html, compared.page(compared.found))
    _show(compared.found, compared.render, as_json)


@app.command()
def report(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Where to write it; default: report.html in the sweep's directory.", metavar="FILE"
        ),
    ] = None,
    trees: Annotated[bool, typer.Option("--trees", help="Also train gradient-boosted trees as a baseline.")] = False,
    no_faces: Annotated[
        bool, typer.Option("--no-faces", help="Leave out the faces that the best trial got wrong.")
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Write a sweep's story as one HTML page that opens offline; its MLflow run gets it, too."""
    from fersweep.results.evaluate.tree_baseline import tree_baseline_of
    from fersweep.results.record.home import find_sweep
    from fersweep.results.report import page as reporting
    from fersweep.results.tracking import report_upload

    directory = find_sweep(home, name)
    made = reporting.write_report(directory, out, tree_baseline_of(directory) if trees else None, not no_faces)
    print(f"written: {made['report']}", file=sys.stderr)
    made["mlflow"] = report_upload.tell_mlflow(directory, Path(made["report"]))
    if as_json:
        print(json.dumps(made, indent=1))


@app.command()
def promote(
    name: Name,
    trial: TrialNumber = None,
    alias: Alias = "champion",
    gate: Annotated[
        list[str] | None,
        typer.Option(
            help="What it must show, repeatable: better_than_champion (the default; p < .05 on the same test faces), "
            "same_fingerprint, min_macro_f1=X (also accuracy, balanced_accuracy), max_recall_drop=X in each class, "
            "max_latency_ms=X; or none.",
            metavar="GATE",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote it whatever the gates say; recorded.")] = False,
    refit: Annotated[
        int,
        typer.Option(help="Train its hparams again on train and val with so many seeds; take their median.", min=0),
    ] = 0,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="With --refit: the mean of all seeds instead of the median.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Licence of the data, for the model card.")] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Judge a sweep's best checkpoint on test, register it in MLflow, and make it champion if its gates open."""
    from fersweep.results.evaluate import tables
    from fersweep.results.promote import gates, promotion
    from fersweep.results.record.home import find_sweep

    if ensemble and refit < 2:
        raise typer.BadParameter("wants --refit 2 or more: it is the mean of that many seeds", param_hint="--ensemble")
    wanted = None if gate is None else gates.read_gates(gate)
    try:
        promoted = promotion.promote(
            find_sweep(home, name),
            alias,
            trial,
            gates=wanted,
            force=force,
            refit=refit,
            ensemble=ensemble,
            licence=licence,
            tell=lambda line: print(line, file=sys.stderr),
        )
    except promotion.Refused as refusal:
        if as_json:
            print(json.dumps({"refused": str(refusal), "verdicts": gates.as_dicts(refusal.verdicts)}, indent=1))
        else:
            _show(refusal.verdicts, lambda verdicts: gates.render(verdicts, f"to become {alias}"), False)
        raise
    title = (
        f"{promoted['model']} version {promoted['version']} is now {alias}"
        f"{', by force' if promoted['forced'] else ''}: trial {promoted['trial']}, judged on test"
    )
    if promoted["before"] is not None and promoted["verdicts"] and not as_json:
        verdicts = [gates.Verdict(**one) for one in promoted["verdicts"]]
        _show(verdicts, lambda verdicts: gates.render(verdicts, f"to become {alias}"), False)
    _show(promoted, lambda found: tables.render(found["figures"], title), as_json)


champion = typer.Typer(help="Show the champion, its history, or go back to the one before.", no_args_is_help=True)
app.add_typer(champion, name="champion")


@champion.command("show")
def champion_show(alias: Alias = "champion", home: Home = RUNS, as_json: AsJson = False) -> None:
    """Show the model card of the version that has an alias."""
    from rich.markdown import Markdown

    from fersweep.results.promote.champion import champion

    _show(champion(home, alias), lambda found: Markdown(f"# version {found['version']}\n\n{found['card']}"), as_json)


@champion.command("history")
def champion_history(alias: Alias = "champion", home: Home = RUNS, as_json: AsJson = False) -> None:
    """List the versions that had an alias: when, by whom, how they were judged, and what was forced."""
    from fersweep.results.mlflow_store import registry

    _show(registry.history(registry.open_registry(home), alias), registry.render, as_json)


@champion.command("rollback")
def champion_rollback(
    to: Annotated[str | None, typer.Option(help="Version to go back to; default: the one before.")] = None,
    alias: Alias = "champion",
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Give an alias back to the version that had it before."""
    from fersweep.results.promote.champion import rollback

    found = rollback(home, alias, to)
    _show(found, lambda one: f"version {one['version']} is {alias} again, instead of version {one['before']}", as_json)


@app.command()
def evaluate(
    model: Model,
    trial: TrialNumber = None,
    data: Annotated[
        Path | None, typer.Option(help="A dataset to judge it on; default: the one of its sweep.", metavar="DATASET")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val or test; default: val of its sweep's dataset, test of another.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes that the model answers, in its order, if it does not say.", metavar="A,B,C"),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Also judge answers averaged over each face and its mirror image.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Draw there what the net looks at in faces of val.", metavar="DIR"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", dir_okay=False, help="Write a page with the mistakes' faces.", metavar="FILE"),
    ] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Judge any model on a split of a dataset, with 95 % intervals, the baseline, and the faces that it got wrong."""
    from fersweep.results.evaluate import page, tables
    from fersweep.results.evaluate.judgement import judge_model
    from fersweep.results.models.open_model import open_model

    opened = open_model(model if trial is None else f"{model}:{trial}", home)
    judged = judge_model(opened, home, data, split, tta, classes.split(",") if classes else None, explain)
    if html is not None:
        _write(html, page.html(judged))
    _show(judged.figures, tables.render, as_json)


@app.command()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photos, folders, videos, or the number of a camera.", metavar="PHOTO|FOLDER|VIDEO|CAMERA..."
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Alias, version, sweep, checkpoint, .onnx or .py:FUNCTION; several times for several models."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Annotated picture or video (without sound); of several inputs a directory."),
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="A picture of all faces with their labels.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="A row for each face of each frame.", metavar="FILE")
    ] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="The same as Parquet.", metavar="FILE")] = None,
    emoji: Annotated[bool, typer.Option("--emoji", help="Draw an emoji beside each face.")] = False,
    smooth: Annotated[
        float, typer.Option(help="Video: time constant of smoothing a face's probabilities, in seconds; 0: off.", min=0)
    ] = 0.3,
    every: Annotated[int, typer.Option(help="Video: look at every N-th frame.", min=1)] = 1,
    window: Annotated[
        int,
        typer.Option(
            help="Video: a blendshape LSTM sees a face's last N frames as N steps; it was trained on one.", min=0
        ),
    ] = 0,
    frames: Annotated[int | None, typer.Option(help="Video: stop after so many frames.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="Video: stop after so many seconds of it.", min=0)] = None,
    show: Annotated[
        bool | None,
        typer.Option("--show/--no-show", help="Open a window; default: of a camera, if there is a display."),
    ] = None,
    landmarker: Landmarker = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say what a model sees in the faces of photos, videos and cameras; of several models, what each sees."""
    from fersweep.results.predict import prediction
    from fersweep.results.predict.video import Watching

    options = prediction.Options(
        out=out,
        grid=grid,
        rows=[path for path in (csv, parquet) if path],
        emoji=emoji,
        show=show,
        say=not as_json,
        watching=Watching(every=every, smooth_s=smooth, window=window, num_frames=frames, seconds=seconds),
    )
    found = prediction.run(inputs, model or ["champion"], home, options, landmarker)
    _show(found, prediction.render, as_json)


@app.command()
def export(
    model: Model,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="FILE.onnx, .tflite, .keras or .safetensors.", metavar="FILE")
    ],
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Write a model to one file that predicts by itself, preprocessing included; the file is checked against the model."""
    from fersweep.results.models import export as exporting

    _show(exporting.export(model, out, home), exporting.render, as_json)


@app.command()
def ui(
    name: Annotated[str | None, typer.Argument(help="Name of the sweep to open; default: everything.")] = None,
    optuna: Annotated[bool, typer.Option("--optuna", help="Optuna's dashboard of the sweep instead.")] = False,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
    home: Home = RUNS,
) -> None:
    """Open the MLflow UI, or Optuna's dashboard of a sweep, on this machine's loopback address."""
    from fersweep.results.record.home import find_sweep

    if optuna and name is None:
        raise typer.BadParameter("wants the name of a sweep: fersweep ui NAME --optuna", param_hint="--optuna")
    directory = None if name is None else find_sweep(home, name)
    if directory is not None and optuna:
        from fersweep.results.dashboards.optuna_ui import serve

        serve(directory, port)
    else:
        from fersweep.results.dashboards.mlflow_ui import ui as run

        run(home, port, directory)


def main() -> None:
    """Run the command line; turn every error into one line and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")
    from fersweep.common.errors import InputError

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
    except Exception as error:
        if os.environ.get("FERSWEEP_DEBUG") or not type(error).__module__.startswith("mlflow."):
            raise
        from fersweep.results.mlflow_store.connection import one_line

        code = _complain(f"MLflow: {one_line(error, os.environ.get('FERSWEEP_TRACKING_URI', ''))}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: object, code: int) -> int:
    if str(message):
        print(f"fersweep: {' '.join(str(message).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
