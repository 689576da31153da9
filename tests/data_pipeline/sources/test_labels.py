"""From a source's classes to ours: spellings, `--map`, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.labels import SPELLINGS, read_map, refuse_unused
from fersweep.data_pipeline.vocabulary import LABELS
from tests.sources import found, survey, write_folder


def test_every_spelling_has_one_label():
    spellings = [spelling for names in SPELLINGS.values() for spelling in names]
    assert list(SPELLINGS) == list(LABELS)
    assert len(set(spellings)) == len(spellings)


def test_unknown_classes_are_refused_all_at_once(tmp_path: Path):
    files = {f"{name}/{number}.png": b"" for number, name in enumerate(["happy", "bored", "bored", "Smug"])}
    path = write_folder(tmp_path / "x", files)
    message = (
        r"unknown classes 'Smug' \(1 faces\), 'bored' \(2 faces\); say what each is: --map Smug=LABEL \(one of angry"
    )
    with pytest.raises(InputError, match=message):
        survey(path)
    with pytest.raises(InputError, match=r"Smug/3.png: unknown class 'Smug'; say"):
        found(path)
    result = survey(path, labels=read_map(["smug=contempt", "bored=drop"]))
    assert (result.num_faces, result.dropped) == (2, {"class bored dropped": 2})


@pytest.mark.parametrize(
    "names",
    [
        ["001", "002"],
        ["S005", "S010_004"],
        ["s1", "s2"],
        ["KA", "KL"],
        ["images"],
        ["test", "train_set"],
        ["13", "2", "person 1"],
    ],
)
def test_folders_of_persons_sequences_or_images_are_not_offered_as_classes(names: list[str], tmp_path: Path):
    path = write_folder(tmp_path / "x", {f"data/{name}/1.png": b"" for name in names})
    for read in (survey, found):
        with pytest.raises(
            InputError, match=rf"the labels are missing, for '{names[0]}'.* looks like a folder"
        ) as error:
            read(path)
        assert "--map" not in str(error.value)
    assert survey(path, labels=dict.fromkeys(names, "happy")).num_faces == len(names)


@pytest.mark.parametrize("names", [["0", "7"], ["00", "10"], ["AN", "HA"], ["001", "bored"], ["happy_faces"]])
def test_what_may_be_a_class_is_asked_for(names: list[str], tmp_path: Path):
    path = write_folder(tmp_path / "x", {f"{name}/1.png": b"" for name in names})
    first = "bored" if "bored" in names else names[0]
    with pytest.raises(InputError, match=rf"unknown class(es)? '{names[0]}'.* say what each is: --map {first}=LABEL"):
        survey(path)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["joy"], r"--map joy: expected NAME=LABEL, for example joy=happy"),
        (["=happy"], r"--map =happy: expected NAME=LABEL"),
        (["joy=hapy"], r"--map joy=hapy: no such label; did you mean 'happy'\?"),
        (["joy=happy", "joy=sad"], r"--map joy=sad: joy was mapped to happy before"),
    ],
)
def test_bad_maps(pairs: list[str], message: str):
    with pytest.raises(InputError, match=message):
        read_map(pairs)


def test_a_map_of_no_class_is_refused():
    refuse_unused({"Joy": "happy"}, ["joy", "anger"])
    with pytest.raises(InputError, match=r"--map jyo=happy: no source has such a class; did you mean 'joy'"):
        refuse_unused({"jyo": "happy"}, ["joy", "anger"])
