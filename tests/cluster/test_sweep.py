"""Sweep files: every recipe is valid, every mistake is one line that names the key and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from cluster.sweep import read_sweep
from data_pipeline.errors import InputError

RECIPES = sorted(path.stem for path in search_spaces.RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    assert read_sweep(name, []).name == name


MISTAKES = [
    ("stop.max_epoch=3", "unknown key 'stop.max_epoch'; did you mean 'max_epochs'"),
    ("stpo={}", "unknown key 'stpo'; did you mean 'stop'"),
    ("task.clases={}", "unknown key 'task.clases'; did you mean 'classes'"),
    ("space.range.learning_rate=[1, 0]", "low <= high must hold, but got [1, 0]"),
    ("space.range.learning_rate=5", "space.range.learning_rate"),
    ("space.range.learning_rate=[1.0e-5]", "is not [low, high] within"),
    ("space.range.learning_rate=[low, 1]", "is not [low, high] within"),
    ("space.range.learning_rate=[1.0e-9, 1.0e-2]", "learning_rate = 1e-09 lies outside [1e-05, 0.1]"),
    ("space.range.activation=[tahn]", "activation = 'tahn' is none of ['tanh', 'relu', 'selu']"),
    ("space.fix.learning_rte=1", "no parameter is named 'learning_rte'; did you mean 'learning_rate'"),
    ("space.fix.num_layers=2.5", "num_layers = 2.5 is not a whole number"),
    ("space.fix.optimizer=adma", "optimizer = 'adma' is none of"),
    ("search.start_from=[seed_pape]", "no point 'seed_pape'; did you mean 'seed_paper'"),
    ("search.start_from=[seed_paper]", "point 'seed_paper' has"),
    ("search.sampler=tpee", "search.sampler: Input should be 'tpe' or 'random', but got 'tpee'"),
    ("search.num_trials=0", "search.num_trials"),
    ("trainable=blendshape_lsmt", "unknown trainable 'blendshape_lsmt': did you mean 'blendshape_lstm'"),
    ("stop.mode=min", "stop.mode: val_macro_f1 wants mode max"),
    ("resources.cpus=0", "resources.cpus"),
    ("name=a/b", "name:"),
    ("oops", "--set 'oops': want KEY.PATH=VALUE"),
    ("name.first=x", "which has no parts"),
]


@pytest.mark.parametrize(("override", "message"), MISTAKES)
def test_a_mistake_is_one_line(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sweep("blendshape_lstm", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["1e-3", "1.0e-3", "1E-03", ".1e-2", "0.001"])
def test_a_number_may_be_written_as_people_write_it(number: str) -> None:
    sweep = read_sweep("blendshape_dense", [f"space.fix.learning_rate={number}"])
    assert sweep.space.fix["learning_rate"] == 0.001


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "just text", "\x00"])
def test_a_file_that_is_no_sweep(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(InputError, match=r"s\.yaml"):
        read_sweep(str(tmp_path / "s.yaml"), [])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'blendshape_dense'"):
        read_sweep("blendshape_dens", [])
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file"):
        read_sweep("nowhere.yaml", [])


def test_options_win_over_overrides_and_the_file() -> None:
    sweep = read_sweep(
        "quick", ["search.num_trials=5", "stop.max_epochs=9"], search__num_trials=3, stop__max_epochs=None
    )
    assert (sweep.search.num_trials, sweep.stop.max_epochs) == (3, 9)


def test_a_range_narrows_and_a_fix_takes_out() -> None:
    import optuna

    from cluster.sweep import sample_space

    sweep = read_sweep("blendshape_lstm", ["space.fix.num_layers=2", "space.range.units_1=[16, 16]"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        hparams = sample_space(sweep, trial)
        assert len(hparams["units"]) == 2
        assert hparams["units"][1] == 16
        assert 2e-4 <= hparams["learning_rate"] <= 2e-2
        assert "num_layers" not in trial.params
        assert hparams["schedule_epochs"] == sweep.stop.max_epochs
