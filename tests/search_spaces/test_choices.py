"""Choices that are lists, tuples and mappings; bounds wider than the space file's; points that cannot be built."""

from __future__ import annotations

import json
import warnings
from typing import Any

import optuna
import pytest

from fersweep.common.errors import InputError
from fersweep.results.record.journal import SweepRecord
from fersweep.search_spaces.sweep_file.consistency import remarks
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep, read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import (
    cannot_be_built,
    distributions,
    first_points,
    fitted,
    named_as_in_a_sweep_file,
    sample_space,
)
from fersweep.search_spaces.sweep_file.space.choices import drawn_distribution, same, texts


@pytest.fixture(autouse=True)
def listed_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERSWEEP_TRAINABLES", "tests.doubles.listed_curve")


def listed(**changes: Any) -> Sweep:
    content = {"name": "s", "trainable": "listed_curve", "space": {"fix": {"odd": 0}, "range": {"load": [0, 0.7]}}}
    return parse_sweep(content | changes, "test")


def draw(sweep: Sweep, number: int = 30) -> list[tuple[optuna.trial.Trial, dict[str, Any]]]:
    """Trials and their hparams; a warning of Optuna's is an error."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [(trial, sample_space(sweep, trial)) for trial in (study.ask() for _ in range(number))]


def test_a_choice_is_drawn_as_its_text_and_given_as_it_is() -> None:
    sweep = listed()
    seen: set[str] = set()
    for trial, hparams in draw(sweep):
        assert json.dumps(hparams["shape"]) == trial.params["shape"]
        assert json.dumps(trial.params) == json.dumps(json.loads(json.dumps(trial.params)))
        seen.add(trial.params["parts"])
        named = named_as_in_a_sweep_file(sweep, trial.params, hparams)
        assert (named["shape"], named["parts"]) == (hparams["shape"], hparams["parts"])
        again = {"fix": {**{name: named[name] for name in ("shape", "parts")}, "odd": 0}, "range": {"load": [0, 0.7]}}
        assert draw(listed(space=again), 1)[0][1]["parts"] == hparams["parts"]
    assert seen == {"[0.5, 0.5]", "[0.9, 0.1]", '{"first": 1.0}', "even"}
    assert json.loads(distributions(sweep)["shape"])["attributes"]["choices"] == ["[64]", "[64, 32]", "[8, 4, 2]"]


def test_choices_are_narrowed_by_value() -> None:
    ranges = {"load": [0, 0.7], "shape": [[8, 4, 2], [64]], "parts": [{"first": 1.0}, "even"]}
    sweep = listed(space={"fix": {"odd": 0}, "range": ranges})
    assert {trial.params["shape"] for trial, _ in draw(sweep)} == {"[64]", "[8, 4, 2]"}
    wider = listed(space={"fix": {"odd": 0}, "range": {"load": [0, 0.7], "shape": [[64], [1, 2]]}})
    assert {trial.params["shape"] for trial, _ in draw(wider)} == {"[64]", "[1, 2]"}
    assert any("shape [1, 2] (there (64,), (64, 32), (8, 4, 2))" in line for line in remarks(wider))
    with pytest.raises(InputError, match=r"space\.range\.shape: shape\.0: Input should be a valid integer.*'x'"):
        listed(space={"range": {"shape": [["x"]]}})


def test_named_points_have_their_choices_as_they_are() -> None:
    ((_, point),) = first_points(listed(search={"start_from": ["flat"]}))
    assert (point["shape"], point["parts"]) == ("[64]", "[0.9, 0.1]")
    with pytest.raises(InputError, match=r"point 'flat' has shape = '\[64\]', outside space\.range's"):
        listed(search={"start_from": ["flat"]}, space={"fix": {"odd": 0}, "range": {"shape": [[8, 4, 2]]}})


def test_same_is_of_type_and_value() -> None:
    assert same((1, 2), [1, 2])
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not any((same(1, True), same(1, 1.0), same("[1]", [1])))
    with pytest.raises(ValueError, match=r"x has \[1\] and '\[1\]', which are drawn alike"):
        texts("x", [[1], "[1]"])
    with pytest.raises(ValueError, match=r"the choice <object .* is no text, number, list or mapping"):
        texts("x", [object()])


def test_journals_of_earlier_versions_have_lists_as_texts() -> None:
    """They had them as Optuna took them, with a warning."""
    record, text = SweepRecord(), '{"name": "CategoricalDistribution", "attributes": {"choices": [[1], [1, 2], "a"]}}'
    sampled = {"hparams": {"s": [1]}, "params": {"s": [1], "lr": 0.1}, "distributions": {"s": text}}
    record.apply({"event": "sampled", "time": 0.0, "trial": 0, **sampled})
    trial, now = record.trials[0], optuna.distributions.CategoricalDistribution(["[1]", "[1, 2]", "a"])
    assert trial.params == {"s": "[1]", "lr": 0.1}
    assert trial.distributions["s"] == optuna.distributions.distribution_to_json(now) == drawn_distribution(text)


def dense(*overrides: str) -> Sweep:
    return read_sweep("blendshape_dense", list(overrides))


def test_choices_of_a_whole_list_set_its_layers() -> None:
    sweep = dense("space={}", "space.range.units=[[64], [64, 32], [900, 4, 4]]")
    seen: set[str] = set()
    for trial, hparams in draw(sweep, 20):
        assert json.loads(trial.params["units"]) == hparams["units"]
        assert not {"num_layers", "units_0"} & trial.params.keys()
        named = named_as_in_a_sweep_file(sweep, trial.params, hparams)
        assert named["units"] == hparams["units"]
        assert not {"num_layers", "units_0"} & named.keys()
        seen.add(trial.params["units"])
    assert len(seen) == 3
    assert any("units [900, 4, 4] (there units_0 8 to 512)" in line for line in remarks(sweep))
    assert parse_sweep(json.loads(sweep.model_dump_json()), "sweep.json") == sweep
    layered = fitted(dense("space={}", "space.range.units=[4, 900]"), "old/0001", trial.params)
    assert layered.params["num_layers"] == len(hparams["units"])
    back = fitted(
        dense("space={}", "space.range.units=[[64], [33, 12]]", "search.start_from=[seed_dense]"), "p", _seed()
    )
    assert back.params["units"] == "[33, 12]"
    with pytest.raises(InputError, match=r"point 'seed_dense' has units = '\[33, 12\]', outside space\.range's"):
        dense("space={}", "space.range.units=[[64], [64, 32]]", "search.start_from=[seed_dense]")


def _seed() -> dict[str, Any]:
    from fersweep.search_spaces.blendshape_dense import POINTS

    return POINTS["seed_dense"]


def test_lists_that_share_a_counter() -> None:
    """Stages of a net: one of them may choose their number, or both may, where it is fixed."""
    both = ["space.range.widths=[[32, 64], [16, 16]]", "space.range.kernels=[[3, 3], [5, 3]]"]
    with pytest.raises(InputError, match=r"kernels has choices, too, and both set num_stages: want it in space\.fix"):
        read_sweep("cnn", ["space={}", *both])
    one = "space.range.head_units=[[], [64, 8]]"
    for trial, hparams in draw(read_sweep("cnn", ["space={}", *both, one, "space.fix.num_stages=2"]), 5):
        assert json.loads(trial.params["widths"]) == hparams["widths"]
        assert len(hparams["head_dropout"]) == len(hparams["head_units"]) + 1
        assert len(hparams["kernels"]) == 2
    with pytest.raises(InputError, match=r"space\.fix\.kernels: \[3, -1\]: widths and kernels are 1 or more"):
        read_sweep("cnn", ["space={}", "space.fix.kernels=[3, -1]"])


@pytest.mark.parametrize(
    ("recipe", "fixed"),
    [
        ("blendshape_dense", {"units": [600, 4]}),
        ("blendshape_lstm", {"units": [2] * 8}),
        ("cnn", {"widths": [8], "kernels": [11], "head_units": [2000, 8, 8, 8], "head_dropout": [0.8] * 5}),
        ("transfer", {"head_units": [], "head_dropout": [0.9]}),
    ],
)
def test_a_list_is_fixed_by_its_own_name(recipe: str, fixed: dict[str, list[Any]]) -> None:
    """Also where it is longer, or has larger values, than the space file says."""
    changes = [f"space.fix.{name}={values}" for name, values in fixed.items()]
    sweep = read_sweep(recipe, ["space={}", *changes, "search.start_from=[]"])
    built = [hparams for _, hparams in draw(sweep, 8) if hparams.get("head") != "trees"]
    assert built
    assert all(hparams[name] == values for hparams in built for name, values in fixed.items())


def test_bounds_may_be_wider_where_the_hparams_allow_it() -> None:
    wide = ["learning_rate=[1.0e-7, 1.0e-1]", "beta_1=[0.5, 0.999]", "num_layers=[1, 9]", "units=[4, 16]"]
    sweep = dense("space={}", *(f"space.range.{each}" for each in wide), "space.fix.batch_size=8")
    drawn_from = distributions(sweep)
    rate = json.loads(drawn_from["learning_rate"])["attributes"]
    assert (rate["low"], rate["log"]) == (1e-7, True)
    assert json.loads(drawn_from["units_8"])["attributes"] == {"log": True, "step": 1, "low": 4, "high": 16}
    assert max(len(hparams["units"]) for _, hparams in draw(sweep)) > 6
    (line,) = [line for line in remarks(sweep) if line.startswith("wider than")]
    assert line == (
        "wider than search_spaces/blendshape_dense.py: batch_size 8 (there 16 to 1024), beta_1 0.999 (there 0.5 to 0.99), "
        "learning_rate 1e-07 (there 1e-05 to 0.1), num_layers 9 (there 1 to 6), units 4 (there 8 to 512)"
    )


def test_what_no_space_of_the_sweep_allows_is_refused() -> None:
    """7 stages need faces of 128 pixels, which the sweep file may ask for, too."""
    with pytest.raises(InputError, match=r"space\.range\.num_stages: widths: 7 stages halve a side of \d+ pixels to"):
        read_sweep("cnn", ["space={}", "space.range.num_stages=[7, 7]"])
    read_sweep("cnn", ["space={}", "space.range.num_stages=[7, 7]", "space.range.image_size=[160, 224]"])
    with pytest.raises(InputError, match=r"image_size: Input should be less than or equal to 224, but got 300"):
        read_sweep("transfer", ["space.fix.image_size=300"])


def test_the_share_of_points_that_cannot_be_built() -> None:
    sweep = listed(space={"fix": {"odd": 0}})
    share, reason = cannot_be_built(sweep) or (0.0, "")
    assert 0.1 < share < 0.3
    assert reason == "load: Input should be less than 0.8"
    assert f"{100 * share:.3g} % of sampled points cannot be built, and their trials fail: {reason}" in remarks(sweep)
    assert cannot_be_built(listed()) is None
    share, reason = cannot_be_built(listed(space={"range": {"load": [0, 0.7]}})) or (0.0, "")
    assert 0.4 < share < 0.6
    assert reason == "ZeroDivisionError: float division by zero"
    refused = {"top": 0.5, "rate": 0.1, "noise": 0.0, "shape": "[64]", "parts": "even", "load": 0.1, "odd": 1}
    assert named_as_in_a_sweep_file(listed(space={"range": {"load": [0, 0.7]}}), refused, {}) == refused
    with pytest.raises(InputError, match="test: ZeroDivisionError"):
        listed(space={"range": {"odd": [1, 1]}})
