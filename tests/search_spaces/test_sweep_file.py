"""Sweep files: every recipe is valid, every mistake is one line that names the key and what would be right."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from fersweep import search_spaces
from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.consistency import remarks
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import named_as_in_a_sweep_file, sample_space
from fersweep.search_spaces.sweep_file.space.whole_space import parameters

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
    ("space.range.learning_rate=[1.0e-5]", "is not [low, high], such as [1e-05, 0.1]"),
    ("space.range.learning_rate=[low, 1]", "is not [low, high], such as"),
    ("space.range.learning_rate=[0, 1.0e-2]", "[0, 0.01] is on a log scale: low must be above 0"),
    (
        "space.range.activation=[tahn]",
        "space.range.activation: Input should be 'tanh', 'relu' or 'selu', but got 'tahn'",
    ),
    ("trainable=cnn", "task.features: cnn learns from pixels, not from blendshapes"),
    ("space.fix.learning_rte=1", "no parameter is named 'learning_rte'; did you mean 'learning_rate'"),
    ("space.fix.num_layers=2.5", "num_layers = 2.5 is not a whole number"),
    (
        "space.fix.optimizer=adma",
        "space.fix.optimizer: Input should be 'adam', 'adamw', 'sgd' or 'rmsprop', but got 'adma'",
    ),
    ("search.start_from=[seed_pape]", "no point 'seed_pape'; did you mean 'seed_paper'"),
    ("search.start_from=[seed_paper]", "point 'seed_paper' has"),
    ("search.start_from=[{sweep: old, best: 49}]", "search.num_trials: 48 is fewer than start_from's 49 points"),
    (
        "search.start_from=[{sweep: old, best: 0}]",
        "search.start_from.0.best: Input should be greater than or equal to 1",
    ),
    ("search.sampler=tpee", "search.sampler: there is no 'tpee'; did you mean 'tpe'?"),
    (
        "search.sampler_options.n_ei_candidates=1000000000000",
        "search.sampler_options.n_ei_candidates: Input should be less than or equal to 10000, but got 1000000000000",
    ),
    ("search.sampler_options.gamma=1.5", "search.sampler_options.gamma: want "),
    ("search.sampler_options.multivariate=false", "search.sampler_options: group: true needs multivariate: true"),
    ("search.num_trials=0", "search.num_trials"),
    ("trainable=blendshape_lsmt", "unknown trainable 'blendshape_lsmt': did you mean 'blendshape_lstm'"),
    (
        "task.features=pixels",
        "task.features: blendshape_lstm learns from blendshapes or landmarks or blendshapes+landmarks, not from pixels",
    ),
    ("task.fraction=0", "task.fraction: Input should be greater than 0"),
    ("then.best=49", "then.best: 49 is more than search.num_trials, 48"),
    ("then.fractoin=0.5", "unknown key 'then.fractoin'; did you mean 'fraction'"),
    ("then={best: 2, fraction: 1.5}", "then.fraction: Input should be less than or equal to 1, but got 1.5"),
    ("stop.mode=min", "stop.mode: val_macro_f1 wants mode max"),
    ("resources.cpus=0", "resources.cpus"),
    ("name=a/b", "--set name=a/b: name: may hold letters (a to z), digits, '.', '_' and '-'"),
    ("stop.report_s=7200", "stop.report_s: 7200 must be below stop.timeout_s, 3600"),
    ("resources.cpus=1.5", "resources.cpus: 1.5 must be whole"),
    ("search.start_from=[{sweep: old}, {sweep: old}]", "stands there twice"),
    ("space.range.activation=[relu, tanh, relu]", 'space.range.activation: "relu" is there twice'),
    ("space.range.units=[[64], [64, 32], [64]]", "space.range.units: [64] is there twice"),
    ("space.fix.units=[64, 0]", "space.fix.units: [64, 0]: units.1: Input should be greater than 0, but got 0"),
    ("space.fix.units=[]", "space.fix.units: []: units: Tuple should have at least 1 item"),
    ("space.fix.units=64", "space.fix.units: 64 is no list: want a value for each layer, such as [64, 64]"),
    ("space.fix.unit=[64]", "no parameter is named 'unit'; did you mean 'units'"),
    (
        "space.range.units=[[64], 32]",
        "space.range.units: [[64], 32] has 32 beside lists: want [low, high], or a list for",
    ),
    ("space.range.units=[16, 32, 64]", "space.range.units: [16, 32, 64] is not [low, high] of each layer; choices are"),
    ("space.range.units=[[64], [0]]", "space.range.units: [0]: units.0: Input should be greater than 0, but got 0"),
    (
        "space.range={units: [[64], [8]], units_0: [8, 9]}",
        "space.range.units: its choices set units_0, which is in space",
    ),
    ("space.range.num_layers=[0, 2]", "space.range.num_layers: units: Tuple should have at least 1 item"),
    ("space.fix.num_layers=-1", "space.fix.num_layers: units: Tuple should have at least 1 item"),
    ("space.fix.num_layers=1000000000", "num_layers = 1000000000 is more than the 1000 parameters of a point"),
    ("space.range.dropout=[0, 1]", "space.range.dropout: Input should be less than 1, but got 1"),
    ("space.range.use_l2=[true, maybe]", "space.range.use_l2: 'maybe' is none of [False, True]"),
    ("space.fix.use_l2=1", "space.fix.use_l2: 1 is none of [False, True]"),
    ("search.start_from=[{sweep: old, best: 2, values: true}]", "search.start_from.0.values: best tries points again"),
    ("space.fix.learning_rate=fast", "--set space.fix.learning_rate=fast: space: learning_rate = 'fast' is no number"),
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
    with pytest.raises(InputError, match=r"nowhere\.yaml: there is no such file"):
        read_sweep("nowhere.yaml", [])


def test_options_win_over_overrides_and_the_file() -> None:
    sweep = read_sweep(
        "quick", ["search.num_trials=5", "stop.max_epochs=9"], search__num_trials=3, stop__max_epochs=None
    )
    assert (sweep.search.num_trials, sweep.stop.max_epochs) == (3, 9)


def test_the_sweep_that_follows_is_one_of_its_own() -> None:
    sweep = read_sweep("quick", ["then={best: 3, max_epochs: 60}", "task.fraction=0.2", "task.balance=50"])
    following = sweep.following
    assert following is not None
    assert Sweep.model_validate(following.model_dump(mode="json")) == following
    assert (following.name, following.task.fraction, following.task.balance) == ("quick-full", 1.0, 50)
    assert (following.search.num_trials, following.search.best_of) == (3, [("quick", 3)])
    assert (following.stop.max_epochs, following.stop.scheduler, following.space) == (60, "asha", sweep.space)
    assert following.following is None
    with pytest.raises(InputError, match=r"name: 'x{78}-full', as `then` names its sweep, is longer than 80"):
        read_sweep("quick", ["then={}"], name="x" * 78)


def test_a_range_narrows_and_a_fix_takes_out() -> None:
    import optuna

    from fersweep.search_spaces.sweep_file.searched_space import sample_space

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


def test_a_list_is_written_as_hparams_have_it() -> None:
    """Of all layers, and their number with it; a range holds for each of them."""
    sweep = read_sweep("blendshape_dense", ["space.fix.units=[64, 32]"])
    assert not {"num_layers", "units_0", "units_1"} & sweep.space.range.keys()
    assert {**sweep.space.fix, "num_layers": 2, "units_0": 64, "units_1": 32} == sweep.space.fix
    net = read_sweep("cnn", ["space.fix.widths=[32, 64, 128]", "space.fix.head_dropout=[0.3, 0.2]"]).space.fix
    assert [net[name] for name in ("num_stages", "width_2", "head_layers", "head_dropout_1")] == [3, 128, 1, 0.2]
    ranges = read_sweep("quick", ["space.range.units=[16, 32]", "space.range.units_1=[8, 9]"]).space.range
    assert (ranges["units_0"], ranges["units_1"]) == ([16, 32], [8, 9])
    with pytest.raises(InputError, match=r"units=\[8\]: .* wants num_layers = 1, but it is 2"):
        read_sweep("blendshape_dense", ["space.fix.num_layers=2", "space.fix.units=[8]"])


def test_what_is_said_twice_is_refused_and_what_is_in_vain_is_said(tmp_path: Path) -> None:
    assert read_sweep("cnn", ["space.fix.attention=cbam"]).space.range.get("attention") is None  # `--set` replaces it
    both = ["space.fix.dropout=0.1", "space.range.dropout=[0, 0.2]"]
    with pytest.raises(InputError, match=r"space.fix.dropout: dropout is in space.range, too"):
        read_sweep("blendshape_dense", both)
    expected = {
        "stop.max_epochs=5": "ASHA stops no trial: stop.grace_epochs, 5, is not below stop.max_epochs, 5",
        "stop.scheduler=none": "without effect: stop.grace_epochs and stop.reduction, as stop.scheduler is none",
        "search.num_trials=1": "ASHA stops no trial: search.num_trials is 1",
        "space.fix.num_layers=1": "without effect: space.range of units_1, which no trial of this space draws",
    }
    for override, remark in expected.items():
        assert [line for line in remarks(read_sweep("quick", [override])) if line.startswith(remark)], override
    learning = ["search.sampler=random", "search.start_from=[{sweep: old}]"]
    assert "search.start_from old, as the random sampler learns nothing" in remarks(read_sweep("quick", learning))[0]
    assert all(remarks(read_sweep(name, [])) == [] for name in RECIPES)


def test_the_option_is_blamed() -> None:
    with pytest.raises(InputError, match=r"^--name: may hold letters .*, but got 'a b'$"):
        read_sweep("quick", [], name="a b")
    with pytest.raises(InputError, match=r"^--trials: 1 is fewer than start_from's 2 points$"):
        read_sweep("cnn", ["search.start_from=[{sweep: old, best: 2}]"], search__num_trials=1)
    with pytest.raises(InputError, match=r"^--trials: then.best: 4 is more than search.num_trials, 3$"):
        read_sweep("reduced_first", [], search__num_trials=3)
    with pytest.raises(InputError, match=r"^recipe quick: unknown key 'stop.x'"):
        read_sweep("quick", ["stop={x: 1}"])


def test_fix_also_sets_what_no_space_searches() -> None:
    import optuna

    from fersweep.search_spaces.sweep_file.searched_space import sample_space

    fixed = ["space.fix.weights=none", "space.fix.tta=true", "space.fix.schedule_epochs=7", "space.fix.batch_size=auto"]
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    hparams = sample_space(read_sweep("transfer", fixed), trial)
    assert [hparams[k] for k in ("weights", "tta", "schedule_epochs", "batch_size")] == ["none", True, 7, "auto"]
    with pytest.raises(InputError, match=r"space: width_0 = 'auto' is no number; it is in \[16, 512\]"):
        read_sweep("cnn", ["space.fix.width_0=auto"])
    with pytest.raises(InputError, match=r"space.fix.batch_size: Input should be a valid integer.*'auto'$"):
        read_sweep("blendshape_dense", ["space.fix.batch_size=auto"])
    with pytest.raises(InputError, match=r"space: precision: Input should be 'auto', .*, but got 'fp13'$"):
        read_sweep("transfer", ["space.fix.precision=fp13"])


def test_hparams_are_named_as_a_sweep_file_names_them() -> None:
    """So that what `compare` shows can be pasted into `space.fix`."""
    sweep = read_sweep("quick", ["space.fix={num_layers: 2, units_1: 16, units_2: 8}", "space.range={}"])
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    hparams = sample_space(sweep, trial)
    named = named_as_in_a_sweep_file(sweep, trial.params, hparams)
    assert not {"units", "units_2"} & named.keys()
    assert [named["units_0"], named["units_1"]] == hparams["units"]
    assert named["learning_rate"] == hparams["learning_rate"]
    fixed = named.keys() & parameters(sweep.trainable).keys()
    changes = [f"space.fix.{name}={json.dumps(named[name])}" for name in sorted(fixed)]
    assert sample_space(read_sweep("quick", ["space={}", *changes]), optuna.trial.FixedTrial({})) == hparams
    assert named_as_in_a_sweep_file(sweep, {}, {"units": [1]}) == {"units": [1]}, "its space has changed since"


METRIC = "def größe(y, probabilities):\n    return 0.5\n"


def test_an_override_replaces_the_files_own_code_before_anybody_looks_for_it(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "trainable: gone.py\nstop: {metric: gone.py:cost, mode: max, max_epochs: 4, grace_epochs: 1}\ncallbacks: gone.py:A\n"
    )
    sweep = read_sweep(file, ["stop.metric=val_accuracy", "callbacks=[]", "trainable=curve"])
    assert (sweep.trainable, sweep.stop.metric, sweep.stop.metrics) == ("curve", "val_accuracy", [])
    assert (
        read_sweep(file, ["stop={metric: val_loss, mode: min}", "callbacks=[]", "trainable=curve"]).stop.metrics == []
    )


def test_own_code_of_an_override_is_looked_for_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "m.py").write_text(METRIC)
    (tmp_path / "c.py").write_text("class C:\n    def ended(self, trial): ...\n")
    file = tmp_path / "s.yaml"
    file.write_text("trainable: curve\nstop: {mode: max, max_epochs: 4, grace_epochs: 1}\ncallbacks: c.py:C\n")
    monkeypatch.chdir(tmp_path / "here")
    sweep = read_sweep(file, ["stop.metric=m.py:größe", "stop.sweep.target.val_größe=0.9"])
    assert (sweep.stop.metric, sweep.stop.own_metric) == ("val_größe", sweep.stop.metrics[0])
    assert sweep.callbacks[0].shown == "c.py:C"
    for override in ("stop.metric=c.py:cost", "trainable=c.py"):
        with pytest.raises(InputError, match=f"^--set {override}: .*No such file or directory in {Path.cwd()}$"):
            read_sweep(file, [override])
