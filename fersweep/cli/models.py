"""Verbs about models: promote, evaluate, predict, export, champion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.options import RUNS, Alias, AsJson, Home, Landmarker, Model, TrialNumber, known_sweeps, spread
from fersweep.cli.output import show
from fersweep.results.predict.options import Options

app = typer.Typer()
champion = typer.Typer(help="Show the champion, its history, or go back to the one before.", no_args_is_help=True)


@app.command(
    rich_help_panel="Models",
    epilog="Examples: fersweep promote cnn --gate min_macro_f1=0.55\n\nfersweep promote cnn dense --ensemble greedy",
)
def promote(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Name of the sweep, or its address in a bucket; with --ensemble greedy or bagged several.",
            metavar="NAME...",
            autocompletion=known_sweeps,
        ),
    ],
    trial: TrialNumber = None,
    alias: Alias = "champion",
    gate: Annotated[
        list[str] | None,
        typer.Option(
            help="What it must show, repeatable: better_than_champion (the default; p < .05 on the same test faces), "
            "same_fingerprint, fresh_test (faces never judged before), min_macro_f1=X (also accuracy, balanced_accuracy), "
            "max_recall_drop=X in each class, max_latency_ms=X; or none.",
            metavar="GATE",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote it whatever the gates say; recorded.")] = False,
    refit: Annotated[
        int,
        typer.Option(help="Train its hparams again on train and val with so many seeds; take their median.", min=0),
    ] = 0,
    ensemble: Annotated[
        str | None,
        typer.Option(
            help="greedy (or bagged): of all trials of the sweeps those that answer val best together, weighted; "
            "mean, with --refit: of all seeds instead of the median.",
            metavar="HOW",
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data, for the model card.")] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            help="Of several objectives, which trial of the front: knee, or an objective, e.g. latency_ms, whose best it is.",
            metavar="KNEE_OR_METRIC",
        ),
    ] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Judge a sweep's best checkpoint on test, register it in MLflow, and make it champion if its gates open."""
    from fersweep.api import models
    from fersweep.results.ensembles import choice
    from fersweep.results.evaluate import tables
    from fersweep.results.promote import gates, promotion

    try:
        promoted = models.promote(
            names,
            trial=trial,
            alias=alias,
            gate=gate,
            force=force,
            refit=refit,
            ensemble=ensemble,
            licence=licence,
            pick=pick,
            home=home,
        )
    except promotion.Refused as refusal:
        if as_json:
            show(refusal, None, as_json)
        else:
            show(refusal.verdicts, lambda verdicts: gates.render(verdicts, f"to become {alias}"), False)
        raise
    now = "is" if promoted.before == promoted.version else "is now"
    title = (
        f"{promoted.model} version {promoted.version} {now} {alias}"
        f"{', by force' if promoted.forced else ''}: {promoted.what}, judged on test"
    )
    if promoted.figures.joined is not None and not as_json:
        show(promoted.figures.joined, choice.render, False)
    if gates.NONE not in [verdict.gate for verdict in promoted.verdicts] and not as_json:
        show(promoted.verdicts, lambda verdicts: gates.render(verdicts, f"to become {alias}"), False)
    show(promoted, lambda promoted: tables.render(promoted.figures, title), as_json)


@app.command(rich_help_panel="Models", epilog="Example: fersweep evaluate cnn --split val")
def evaluate(
    model: Model,
    trial: TrialNumber = None,
    data: Annotated[
        str | None, typer.Option(help="A dataset to judge it on; default: the one of its sweep.", metavar="DATASET")
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
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="Judge it also on faces that it learned; the figures are marked.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", dir_okay=False, help="Write a page with the mistakes' faces.", metavar="FILE"),
    ] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Judge any model on a split of a dataset, with 95 % intervals, the baseline, and the faces that it got wrong."""
    from fersweep.api import models
    from fersweep.results.evaluate import tables

    judged = models.evaluate(
        model,
        trial=trial,
        data=data,
        split=split,
        classes=classes.split(",") if classes else None,
        tta=tta,
        explain=explain,
        allow_seen=allow_seen,
        html=html,
        home=home,
    )
    show(judged, tables.render_judgement, as_json)


@app.command(rich_help_panel="Models", epilog="Example: fersweep predict photo.jpg --model champion")
@spread
def predict(
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photos, folders, videos, or the number of a camera.", metavar="PHOTO|FOLDER|VIDEO|CAMERA..."
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Alias, version, sweep, checkpoint, .onnx or .py:FUNCTION (whose file is run); several times for several models."
        ),
    ] = None,
    options: Options,
    landmarker: Landmarker = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say what a model sees in the faces of photos, videos and cameras; of several models, what each sees."""
    from fersweep.results.predict import prediction, tables
    from fersweep.results.predict.video import ClipResult

    results = prediction.run(inputs, model or ["champion"], home, replace(options, say=not as_json), landmarker)
    show(results, tables.render, as_json)
    if any(isinstance(result, ClipResult) and result.promised is not None for result in results):
        raise typer.Exit(1)  # a script is not to take what was seen of a film for the whole


@app.command(rich_help_panel="Models", epilog="Example: fersweep export champion --out champion.onnx")
def export(
    model: Model,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="FILE.onnx, .tflite, .keras or .safetensors.", metavar="FILE")
    ],
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Write a model to one file that predicts by itself, preprocessing included; the file is checked against the model."""
    from fersweep.api import models
    from fersweep.results.models import export as exporting

    show(models.export(model, out, home=home), exporting.render, as_json)


@champion.command("show")
def champion_show(alias: Alias = "champion", home: Home = RUNS, as_json: AsJson = False) -> None:
    """Show the model card of the version that has an alias."""
    from rich.markdown import Markdown

    from fersweep.api import models

    show(
        models.champion(alias, home=home), lambda shown: Markdown(f"# version {shown.version}\n\n{shown.card}"), as_json
    )


@champion.command("history")
def champion_history(alias: Alias = "champion", home: Home = RUNS, as_json: AsJson = False) -> None:
    """List the versions that had an alias: when, by whom, how they were judged, and what was forced."""
    from fersweep.api import models
    from fersweep.results.champion.tables import render

    show(models.champion_history(alias, home=home), render, as_json)


@champion.command("rollback")
def champion_rollback(
    to: Annotated[str | None, typer.Option(help="Version to go back to; default: the one before.")] = None,
    alias: Alias = "champion",
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Give an alias back to the version that had it before."""
    from fersweep.api import models

    moved = models.champion_rollback(to, alias=alias, home=home)
    show(moved, lambda moved: f"version {moved.version} is {alias} again, instead of version {moved.before}", as_json)
