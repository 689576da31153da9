"""Hundreds of malformed sweep files, `--set` overrides and sources: each is refused in one line, and nothing is written.

Most are sound ones with a few mutations (tests/malformed/), drawn by hypothesis without randomness: the same each time.
Some of those stay sound and must be accepted whole. The others here are what once went wrong, one by one.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from fersweep.cluster.launch import describe
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.prepare.preparation import prepare
from fersweep.data_pipeline.sources.decode import Face, decode
from fersweep.data_pipeline.sources.source import open_source
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from tests.datasets import write_tiny_dataset
from tests.hanging import ending
from tests.malformed import sources, sweeps
from tests.malformed.sources import PIXELS, encoded, tar_header, tarred, zipped

NUM_MALFORMED = 500
NUM_PREPARED = 3  # mutated sources that are still sound and go all the way through MediaPipe
HANGS_S = 600  # what takes milliseconds and has not ended by then never will
LONGEST_MESSAGE = 1000
fixed = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def refusal(run: Callable[[], object], *names: str) -> str | None:
    """The message with which `run` refuses its input, one clear line that holds one of `names`; None if it accepts."""
    try:
        with ending(HANGS_S):
            run()
    except InputError as error:
        message = str(error)
        assert message.strip()
        assert message.isprintable(), repr(message)
        assert len(message) <= LONGEST_MESSAGE
        assert any(name in message for name in names), message
        return message
    return None


# --- sweeps ---


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = ("happy", "sad", "neutral", "angry", "fear", "surprise", "disgust")
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "seven", 210, classes)


def sweep_refusal(file: Path, overrides: list[str], data: Path) -> str | None:
    """The refusal of a sweep; None if it is accepted, and then `resume` reads what `launch` would write of it."""

    def run() -> None:
        sweep = read_sweep(str(file), overrides)
        described, _ = describe(sweep, data, file.parent / "home")
        assert Sweep.model_validate(json.loads(described.as_bytes())["sweep"]) == sweep

    message = refusal(run, str(file), str(data), "--set", "task.", "search.")
    assert list(file.parent.iterdir()) == [file]
    return message


@pytest.mark.slow
def test_mutated_sweep_files(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where `!!python/object/apply:os.mkdir` would show
    file, refused, accepted = tmp_path / "sweep.yaml", set(), set()

    @settings(fixed, max_examples=900)
    @given(sweeps.files())
    def check(content: bytes) -> None:
        file.write_bytes(content)
        (accepted if sweep_refusal(file, [], data) is None else refused).add(content)

    check()
    print(f"{len(refused)} different sweep files refused, {len(accepted)} accepted")
    assert len(refused) >= NUM_MALFORMED
    assert accepted


@pytest.mark.slow
def test_mutated_overrides(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, refused, accepted = tmp_path / "sweep.yaml", set(), set()
    file.write_text(yaml.safe_dump(sweeps.WHOLE))

    @settings(fixed, max_examples=300)
    @given(sweeps.overrides())
    def check(overrides: list[str]) -> None:
        (accepted if sweep_refusal(file, overrides, data) is None else refused).add(tuple(overrides))

    check()
    print(f"{len(refused)} different overrides refused, {len(accepted)} accepted")
    assert len(refused) >= 200


SWEEPS = {
    "strange: 1": "unknown key 'strange'",
    "stop: {str_metric: val_loss}": "unknown key 'stop.str_metric'; did you mean 'metric'",
    "then: {best: true}": "then.best: must be a number, but got True",
    "task: {seed: true}": "task.seed: must be a number, but got True",
    "search: {num_trials: true}": "search.num_trials: must be a number, but got True",
    "search: {seed: 1, seed: 2}": "the key 'seed' is there twice",
    "search: {seed: !!int x}": "this is no int",
    "search: {seed: 2001-99-99}": "this is no timestamp",
    "search: {seed: 0b_}": "this is no int",
    "search: {seed: 99999999999999999999}": "a number beyond 64 bits",
    f"search: {{seed: 0x{'f' * 5000}}}": "a number beyond 64 bits",
    'name: "\\U00110000"': "not YAML",
    'tracking: {experiment: "a\\0b"}': "a control character",
    f"space: {{fix: {{noise: {sweeps.LAUGHS}}}}}": "an alias; write out what it stands for",
    f"space: {{fix: {sweeps.MERGES}}}": "an alias; write out what it stands for",
    "space: {fix: &a {noise: *a}}": "an alias; write out what it stands for",
    f"space: {'[' * 5000}": "nested too deep",
    f"name: {'x' * 100_000}": "more than 100,000 characters",
    "task: {seed: -1, balance: smallest}": "task.seed: Input should be greater than or equal to 0, but got -1",
    "task: {balance: {happy: 0}}": "task.balance.happy: Input should be greater than 0, but got 0",
    "resources: {cpus: .inf}": "resources.cpus: must be a finite number, but got inf",
    "stop: {report_s: .inf}": "stop.report_s: Input should be a finite number, but got inf",
    "space: {fix: {noise: 0.01}, range: {noise: [a]}}": "space.range.noise: ['a'] is not [low, high]",
    "{trainable: blendshape_dense, space: {fix: {num_layers: 1, units_2: .nan}}}": "units_2 = nan is no number",
    "{trainable: blendshape_dense, space: {range: {activation: []}}}": "space.range.activation: [] allows nothing",
}


@pytest.mark.parametrize("content", SWEEPS, ids=lambda content: content[:40])
def test_a_malformed_sweep_file(content: str, tmp_path: Path, data: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(content if content.startswith("{") else f"trainable: curve\n{content}\n")
    message = sweep_refusal(file, [], data)
    assert message is not None
    assert str(file) in message
    assert SWEEPS[content] in message


# --- sources ---


class Sound(Exception):
    """Raised where `prepare` has read its sources, found them sound, and turns to Ray."""


def reach_ray(*_: object) -> None:
    raise Sound


def source_refusal(source: Path) -> str | None:
    """The refusal of a source, by all of `prepare` up to where it turns to Ray; nothing may be written beside it."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fersweep.data_pipeline.prepare.ray_stream.ray_session", reach_ray)
            names = ("source", "data", "happy", ".png", ".csv", "row ")
            message = refusal(lambda: prepare([source], source.parent / "out"), *names)
        assert message is not None
    except Sound:
        message = None
    assert list(source.parent.iterdir()) == [source]
    return message


@pytest.mark.slow
def test_mutated_sources(tmp_path: Path) -> None:
    refused, sound, number = set(), [], itertools.count()

    @settings(fixed, max_examples=1000)
    @given(sources.sources())
    def check(given: sources.Given) -> None:
        source = sources.write(tmp_path / str(next(number)), given)
        if source_refusal(source) is None:
            sound.append(source)
        else:
            refused.add(repr(given))
        if source not in sound[:NUM_PREPARED]:
            shutil.rmtree(source.parent)

    check()
    print(f"{len(refused)} different sources refused, {len(sound)} accepted")
    assert len(refused) >= NUM_MALFORMED
    for source in sound[:NUM_PREPARED]:
        manifest = prepare([source], source.parent / "out", workers=1)
        assert read_manifest(source.parent / "out") == manifest


CSV = "\n".join(",".join(row) for row in sources.csv_rows()).encode()
FACES = {f"data/happy/{index}.png": encoded(PIXELS[index]) for index in range(3)}
ZIP, TAR, FIRST = zipped(FACES), tarred(FACES), int(PIXELS[0, 0, 0])
ENTRY = ZIP.index(b"PK\1\2")  # of the first face, in the directory at the end of the zip
SOURCES = {
    "a changed byte in a zip": (".zip", zipped({"data/fer.csv": CSV}, 0).replace(b",Training", b",PrivatTs"), "Bad CRC-32"),
    "a zip entry with a password": (".zip", ZIP[: ENTRY + 8] + b"\1" + ZIP[ENTRY + 9 :], "is encrypted (data/happy/0.png)"),
    "a zip of a method that is not read": (".zip", ZIP[: ENTRY + 10] + b"\t" + ZIP[ENTRY + 11 :], "by zip's method 9 (data/happy"),
    "a zip name that is no UTF-8": (".zip", zipped({"data/happy/é%ff.png": FACES["data/happy/0.png"]}), "no readable archive"),
    "a tar that goes round in circles": (".tar", tar_header(TAR, 1024, 124, b"\xff" * 10 + b"\xfc\0"), "1.png is broken"),
    "an extended tar header without end": (
        ".tar",
        tar_header(tarred({"data/fer.csv": b"1" * 150_000}), 0, 156, b"x"),
        "no readable archive",
    ),
    "a changed byte in a tar.gz": (".tar.gz", gzip.compress(TAR)[:-8] + bytes(8), "no readable archive: CRC check failed"),
    "a tar whose second header is lost": (".tar", TAR[:1024] + bytes(512) + TAR[1536:], "it ends too early"),
    "a row of blanks": (".csv", b"emotion,pixels,Usage\n3, ,Training\n", "no face that can be used (1 no pixels)"),
    "a face of one pixel": (".csv", b"emotion,pixels,Usage\n3,7,Training\n", "source.csv:1: a face of 1×1 pixels"),
    "a quote that does not end": (".csv", b'emotion,pixels,Usage\n3,"' + b"1 2\n" * 2_200_000, "row 1: a quote that does not end"),
    "bytes that are no table": (".csv", bytes(5000), "source.csv has one column"),
    "a header without rows": (".csv", b"emotion,pixels,Usage\n", "source.csv holds no face"),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_a_malformed_source(name: str, tmp_path: Path) -> None:
    suffix, content, expected = SOURCES[name]
    message = source_refusal(sources.write(tmp_path / "place", (suffix, content, "none")))
    assert message is not None
    assert expected in message


BROKEN = {
    "a zip entry that points elsewhere": (".zip", ZIP[: ENTRY + 42] + b"\1" + ZIP[ENTRY + 43 :], "cannot be read"),
    "a zip entry that points outside": (".zip", ZIP[: ENTRY + 42] + b"\xff" * 4 + ZIP[ENTRY + 46 :], "cannot be read"),
    "a pixel beyond 32 bits": (".csv", CSV.replace(b",%d " % FIRST, b",%d " % (FIRST + 2**32), 1), "must lie in 0–255"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_face_among_others(name: str, tmp_path: Path) -> None:
    suffix, content, expected = BROKEN[name]
    faces = list(open_source(sources.write(tmp_path / "place", (suffix, content, "none"))).faces())
    messages = [refusal(lambda face=face: decode(face), "source", "data") for face in faces]
    assert expected in str(messages[0])
    assert messages[1:] == [None] * (len(faces) - 1)


def test_paths_that_are_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fer.csv")
    for path, expected in (
        (tmp_path / "fer.csv", "neither a file nor a folder"),
        (tmp_path / ("x" * 300), "cannot be found (File name too long)"),
        (tmp_path / "a\0b", "cannot be found (embedded null byte)"),
    ):
        message = refusal(lambda path=path: open_source(path), str(tmp_path))
        assert message is not None
        assert expected in message


@pytest.mark.parametrize("name", [b"data/happy/\xff.png", b"data/sad/\xe9/happy/1.png"])
def test_a_name_that_is_no_utf8_is_escaped(name: bytes, tmp_path: Path) -> None:
    files = {name.replace(b"\xff", b"%ff").replace(b"\xe9", b"%ff").decode(): encoded(PIXELS[0])}
    for suffix, content in (("", files), (".tar", tarred(files))):
        source = open_source(sources.write(tmp_path / f"place{suffix}", (suffix, content, "none")))
        (face,) = source.faces()
        assert face.source.isprintable()
        assert face.source.encode()
        assert source.sha256()


def test_a_line_without_end_is_not_held(tmp_path: Path) -> None:
    content = zipped({"data/fer.csv": b"emotion,pixels,Usage\n3," + b"0 " * 25_000_000})
    source = open_source(sources.write(tmp_path / "place", (".zip", content, "none")))
    tracemalloc.start()
    assert "longer than" in str(refusal(lambda: list(source.faces()), "fer.csv"))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_an_image_of_too_many_pixels_is_not_decoded() -> None:
    content = encoded(np.zeros((9000, 9000), np.uint8))
    with pytest.raises(InputError, match="huge: 9000×9000 pixels are too many for a face"):
        decode(Face("huge", "happy", None, content, "image"))


def test_a_broken_image_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    for suffix in (".png", ".jpg", ".webp", ".tiff"):
        content = encoded(PIXELS[0], suffix)[:-40]
        with pytest.raises(InputError, match=r"broken: (cut off|not a readable image)"):
            decode(Face("broken", "happy", None, content, "image"))
    assert capfd.readouterr() == ("", "")
