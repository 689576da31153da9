"""Readers of one's own: what they are given, what they may yield, and how wrong ones are refused."""

from __future__ import annotations

import csv
import gc
import io
import os
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from rich.console import Console

from fersweep.cli.main import main
from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.crop import BESIDE, CONSTANT, TINY
from fersweep.data_pipeline.sources.decode import decode
from fersweep.data_pipeline.sources.own_reader.contained import contained
from fersweep.data_pipeline.sources.own_reader.own_reader import find_reader
from fersweep.data_pipeline.sources.own_reader.template import filled
from fersweep.data_pipeline.sources.own_reader.trial import render, try_reader
from fersweep.data_pipeline.sources.source import Source, open_with
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.sources import Expected, content, encoded, pixels

ROOT = Path(__file__).parents[3]
NUM_FACES = 12
EMOTIONS = {"joy": "happy", "AN": "angry", "sad": "sad"}
BEGIN = "import os, random, sys\nimport numpy as np\nGRAY = np.arange(64, dtype=np.uint8).reshape(8, 8)\n"


def written(path: Path, text: str) -> str:
    path.write_text(dedent(text))
    return str(path)


def annotated() -> tuple[dict[str, bytes], dict[bytes, Expected]]:
    """Files of a source as examples/my_reader.py reads it, and its faces; one picture is missing, one blurred, one bored."""
    text, files, faces = io.StringIO(), dict[str, bytes](), dict[bytes, Expected]()
    table = csv.writer(text, delimiter=";")
    table.writerow(["file", "emotion", "set", "person", "quality"])
    for number in range(NUM_FACES):
        emotion, split = list(EMOTIONS)[number % 3], ("train", "val", "test")[number % 3]
        table.writerow([f"{number:02d}.png", emotion, split, f"S{number // 3}", "good"])
        files[f"images/{number:02d}.png"] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected(EMOTIONS[emotion], split, f"S{number // 3}")
    for name, emotion, quality in (("gone", "sad", "good"), ("blurred", "sad", "poor"), ("bored", "bored", "good")):
        table.writerow([f"{name}.png", emotion, "train", "S9", quality])
        if name != "gone":
            files[f"images/{name}.png"] = encoded(pixels(90 + len(name)))
    return files | {
        "annotations.csv": text.getvalue().encode("utf-16"),
        "images/unused.png": encoded(pixels(99)),
    }, faces


def stored(directory: Path, kind: str, files: dict[str, bytes]) -> Path:
    path = directory / f"source{kind}"
    if kind == "":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz" if kind == ".tar.gz" else "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def found(source: Source) -> dict[bytes, Expected]:
    return {content(face): Expected(face.label, face.split, face.subject) for face in source.faces()}


@pytest.mark.parametrize("kind", ["", ".zip", ".tar"])
def test_the_example_reads_a_table_beside_pictures_in_any_container(kind: str, tmp_path: Path) -> None:
    files, faces = annotated()
    source = open_with(stored(tmp_path, kind, files), find_reader(str(ROOT / "examples/my_reader.py")))
    survey = source.survey()
    assert found(source) == faces
    assert survey.num_faces == NUM_FACES
    assert survey.dropped == {
        "image is missing": 1,
        "blurred": 1,
        "class bored dropped": 1,
        "picture that the list does not use": 1,
    }
    assert survey.other_files == {}
    assert survey.has_subjects


def test_pictures_of_a_compressed_tar_are_read_in_its_order(tmp_path: Path) -> None:
    files = {f"{label}/{number}.png": encoded(pixels(number)) for number, label in enumerate(("sad", "happy", "fear"))}
    path = stored(tmp_path, ".tar.gz", files | {"labels.csv": b"code,label\n"})
    reader = written(
        tmp_path / "r.py",
        """
        def read(files):
            assert list(files.table("labels.csv")) == []
            for file in files.pictures():
                yield {"face": file, "label": file.path.parent.name}
        """,
    )
    assert [face.source for face in open_with(path, find_reader(reader)).faces()] == list(files)
    by_name = written(
        tmp_path / "by_name.py", 'def read(files):\n    yield {"face": files["sad/0.png"], "label": "sad"}\n'
    )
    with pytest.raises(InputError, match=r"by_name.py, line 2, record 1: .* tar, which can only be read in its order"):
        list(open_with(path, find_reader(by_name)).faces())


def test_arrays_bytes_votes_and_helpers_beside_the_file(tmp_path: Path) -> None:
    """`path` is for libraries that open a file themselves; what is beside the reader is imported from there."""
    faces = np.stack([pixels(number) for number in range(4)])
    np.savez(tmp_path / "faces.npz", faces=faces)
    (tmp_path / "helpers.py").write_text("CODES = {1: 'happy', 2: 'sad'}\n")
    reader = written(
        tmp_path / "r.py",
        """
        import numpy as np
        from helpers import CODES
        LABELS = CODES | {3: None}

        def read(files):
            print("so many lines")
            faces = np.load(files.path)["faces"]
            yield {"face": faces[0], "label": 1, "votes": {1: 7, "sad": 3}, "box": [1, 2, 40, 41]}
            yield {"face": faces[1][..., None], "label": np.int64(2), "subject": 17}
            yield {"face": np.repeat(faces[2][..., None], 3, axis=2), "label": 2.0, "name": "third"}
            yield {"face": faces[3], "label": 3}
            yield {"face": None, "label": None, "drop": "no face"}
        """,
    )
    source = open_with(tmp_path / "faces.npz", find_reader(reader))
    assert source.survey().dropped == {"class 3 dropped": 1, "no face": 1}
    first, second, third = source.faces()
    assert (first.label, first.box, first.source) == ("happy", (1, 2, 40, 41), "record 1")
    assert first.votes is not None
    assert sum(first.votes) == 10
    assert (second.label, second.subject, third.source) == ("sad", "17", "third")
    for face, expected in zip((first, second, third), faces, strict=False):
        assert np.array_equal(decode(face), expected)
    assert np.array_equal(decode(third, colour=True)[..., 1], faces[2])


def test_ready_made_blendshapes(tmp_path: Path) -> None:
    reader = written(
        tmp_path / "r.py",
        """
        def read(files):
            yield {"blendshapes": [0.5] * 52, "label": "happy"}
            yield {"blendshapes": {"jawOpen": 0.25}, "label": "sad"}
            yield {"blendshapes": [0.5] * 51 + [1.5], "label": "sad"}
        """,
    )
    source = open_with(tmp_path, find_reader(reader))
    survey = source.survey()
    assert (survey.kind, survey.num_faces, survey.dropped) == ("scores", 2, {"a score not between 0 and 1": 1})
    _, second = source.faces()
    scores = np.frombuffer(second.data, np.float32)
    assert scores[BLENDSHAPES.index("jawOpen")] == 0.25
    assert np.isnan(scores).sum() == 51


def test_an_installed_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of a package that is installed: a folder with its metadata on sys.path."""
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text("")
    (tmp_path / "mylab" / "faces.py").write_text(BEGIN + 'def one(files):\n    yield {"face": GRAY, "label": "sad"}\n')
    info = tmp_path / "mylab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fersweep.readers]\nmylab_faces = mylab.faces:one\n")
    monkeypatch.syspath_prepend(tmp_path)
    reader = find_reader("mylab_faces")
    assert reader.name.startswith("mylab.faces@")
    assert sorted(reader.code.files) == ["mylab/__init__.py", "mylab/faces.py"]
    assert [face.label for face in open_with(tmp_path, reader).faces()] == ["sad"]
    with pytest.raises(InputError, match="did you mean 'mylab_faces'"):
        find_reader("mylab_face")


YIELDS = "def read(files):\n    yield "
WRONG: dict[str, tuple[str, str]] = {
    "no Python": ("def read(files:\n", r"r.py, line 1 is no Python"),
    "cannot be imported": ("import no_such_package\n", r"cannot be imported: ModuleNotFoundError: .*\(r.py, line 4\)"),
    "exits when imported": ("sys.exit(3)\n", r"cannot be imported: SystemExit: 3"),
    "no read": ("def raed(files):\n    pass\n", r"has no function read: .*did you mean 'raed'"),
    "wrong arguments": ("def read():\n    yield {}\n", r"r.py: read\(\): want `def read\(files\):`"),
    "async": ("async def read(files):\n    yield {}\n", r"read is async"),
    "returns a list": ("def read(files):\n    return []\n", r"read\(\) returns a list: want it to yield"),
    "returns nothing": ("def read(files):\n    pass\n", r"read\(\) returns nothing"),
    "yields nothing": ("def read(files):\n    yield from ()\n", r"read\(\) yields no face"),
    "yields no dict": (YIELDS + "'1.png'\n", r"r.py, line 5, record 1: yields '1.png', want a dict"),
    "unknown key": (YIELDS + "{'face': GRAY, 'lable': 'sad'}\n", r"unknown key 'lable'; did you mean 'label'"),
    "no face": (YIELDS + "{'label': 'sad'}\n", r"record 1: the record has no face"),
    "no label": (YIELDS + "{'face': GRAY}\n", r"record 1: the record has no label"),
    "raises": (YIELDS + "{'face': GRAY, 'label': {}['x']}\n", r"line 5, record 1: read\(\) raises KeyError: 'x'"),
    "exits": (YIELDS + "sys.exit('bye')\n", r"line 5, record 1: read\(\) raises SystemExit: bye"),
    "ends the process": (YIELDS + "os._exit(0)\n", r"line 5, record 1: read\(\) raises SystemExit: os._exit\(0\)"),
    "ends the process when imported": ("os._exit(0)\n", r"cannot be imported: SystemExit: os._exit\(0\)"),
    "closes stdout": (YIELDS + "sys.stdout.close()\n", r"line 5, record 1: read\(\) raises ValueError: stdout is not to be closed"),
    "leaves": (YIELDS + "os.chdir('/')\n", r"record 1: it changes the working directory \(os.chdir\)"),
    "leaves when imported": ("os.chdir('/')\n" + YIELDS + "{}\n", r"r.py: it changes the working directory"),
    "a name": (YIELDS + "{'face': '1.png', 'label': 'sad'}\n", r"face is the text '1.png': want files\['1.png'\]"),
    "fractions of 1": (YIELDS + "{'face': GRAY / 255, 'label': 'sad'}\n", r"float64: .*\(face \* 255\)\.round\(\)"),
    "NaN": (YIELDS + "{'face': GRAY * np.nan, 'label': 'sad'}\n", r"float64: .* NaN or infinite"),
    "int64": (YIELDS + "{'face': GRAY.astype(int), 'label': 'sad'}\n", r"int64: want uint8.*astype\(np.uint8\)"),
    "channels first": (YIELDS + "{'face': np.stack([GRAY] * 3), 'label': 'sad'}\n", r"\(3, 8, 8\): .*transpose\(1, 2, 0\)"),
    "flat": (YIELDS + "{'face': GRAY.ravel(), 'label': 'sad'}\n", r"\(64,\): .*reshape\(8, 8\)"),
    "no array": (YIELDS + "{'face': [[1, 2]], 'label': 'sad'}\n", r"face is \[\[1, 2\]\]: want a file of the source"),
    "label": (YIELDS + "{'face': GRAY, 'label': 0.5}\n", r"label is 0.5: want text or a whole number"),
    "unknown label": (YIELDS + "{'face': GRAY, 'label': 'HP'}\n", r"unknown class 'HP' .*LABELS = {'HP': 'happy'} in r.py, or --map"),
    "split": (YIELDS + "{'face': GRAY, 'label': 'sad', 'split': 'fold1'}\n", r"split is 'fold1': want train, val or test"),
    "subject": (YIELDS + "{'face': GRAY, 'label': 'sad', 'subject': np.nan}\n", r"subject is nan: want text or a whole"),
    "votes": (YIELDS + "{'face': GRAY, 'label': 'sad', 'votes': {'sad': -1}}\n", r"votes for 'sad' are -1: want a number"),
    "box": (YIELDS + "{'face': GRAY, 'label': 'sad', 'box': (9, 9, 4, 4)}\n", r"box is \(9, 9, 4, 4\): .*is it width and height"),
    "twice": ("def read(files):\n    while True:\n        yield {'face': GRAY, 'label': 'sad', 'name': 'a'}\n", r"record 2: 'a' was yielded before"),
    "by chance": ("def read(files):\n    for n in random.sample(range(99), 99):\n        yield {'face': GRAY, 'label': 'sad', 'name': str(n)}\n", r"want the same faces in the same order in each reading"),
    "fewer later": ("CALLS = []\ndef read(files):\n    CALLS.append(1)\n    for n in range(9 - len(CALLS)):\n        yield {'face': GRAY, 'label': 'sad'}\n", r"ends after 7 records, where 8 were before"),
    "both": (YIELDS + "{'face': GRAY, 'blendshapes': [0] * 52, 'label': 'sad'}\n", r"both face and blendshapes"),
    "51 scores": (YIELDS + "{'blendshapes': [0] * 51, 'label': 'sad'}\n", r"shape \(51,\): want 52 numbers"),
    "all missing": (YIELDS + "{'face': files['img/1.png'], 'label': 'sad'}\n", r"no face that can be used .*r.py asks for 'img/1.png'"),
    "no such table": (YIELDS + "from files.table('annotation.csv')\n", r"line 5, record 1: .* has no file 'annotation.csv'; did you mean 'data/annotations.csv'"),
    "no such column": ("def read(files):\n    for row in files.table('data/annotations.csv'):\n        yield {'face': GRAY, 'label': row['emotoin']}\n", r"line 6, record 1: .*there is no column 'emotoin'; did you mean 'emotion'"),
    "outside": (YIELDS + "{'face': files['../1.png'], 'label': 'sad'}\n", r"files\['../1.png'\] is no file of the source"),
    "reasons": ("def read(files):\n    for n in range(200):\n        yield {'drop': f'reason {n}'}\n", r"record 101: drop names more than 100 reasons"),
    "LABELS": ("LABELS = {'HP': 'hapy'}\n" + YIELDS + "{'face': GRAY, 'label': 'HP'}\n", r"LABELS: 'HP' is called 'hapy': did you mean 'happy'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_reader_is_refused_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text, message = WRONG[case]
    (tmp_path / "source" / "data").mkdir(parents=True)
    (tmp_path / "source" / "data" / "annotations.csv").write_text("file,emotion\n1.png,sad\n")
    (tmp_path / "r.py").write_text(text if case == "no Python" else BEGIN + text)
    monkeypatch.chdir(tmp_path)
    options = ["--reader", "r.py", "--out", "out", "--pixels-only", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["fersweep", "prepare", "source", *options])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capfd.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("reader: runs the code of r.py (sha256 ")]
    assert end.value.code == 2, printed.err
    assert printed.out == ""
    assert len(lines) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(lines[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.py", "source"]


def test_a_trial_says_what_a_reader_makes_of_a_source(tmp_path: Path) -> None:
    files, _ = annotated()
    path = stored(tmp_path, ".zip", files | {"images/00.png": b"no picture"})
    trial = try_reader(str(ROOT / "examples/my_reader.py"), path)
    assert trial.counts == {"train": {"happy": 4}, "val": {"angry": 4}, "test": {"sad": 4}}
    assert (trial.num_records, trial.num_subjects) == (NUM_FACES + 3, 4)
    assert trial.dropped == {"image is missing": 1, "blurred": 1, "class bored dropped": 1}
    assert trial.unreadable == {"not a readable image": 1}
    assert trial.sizes == {"48×48": NUM_FACES - 1}
    missing, unreadable, torn = trial.faults
    assert "1 of 15 pictures are missing, first 'images/gone.png'" in missing
    assert "1 of 12 pictures that were decoded cannot be used: 1 × not a readable image" in unreadable
    assert "4 of 4 subjects are in several splits" in torn
    reader = written(
        tmp_path / "r.py",
        BEGIN
        + "def read(files):\n    for n in random.sample(range(99), 99):\n        yield {'face': GRAY, 'label': str(n % 2), 'name': str(n)}\n",
    )
    steady, *_ = faults = try_reader(reader, path, most=50).faults
    assert "want the same faces in the same order" in steady
    assert any("unknown labels: '" in fault for fault in faults)
    assert any("every face is happy" in fault for fault in try_reader(reader, path, {"0": "happy", "1": "drop"}).faults)


def test_a_process_that_a_reader_forks_does_not_go_on() -> None:
    with contained():
        process = os.fork()
    if process == 0:
        os._exit(3)
    assert os.waitpid(process, 0)[1] == 0


def test_a_thread_that_a_reader_starts_is_not_waited_for() -> None:
    done = threading.Event()
    with contained():
        thread = threading.Thread(target=done.wait)
        thread.start()
    assert thread.daemon
    done.set()


def test_the_template_is_a_reader(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(filled("mine.py"))
    files, faces = annotated()
    trial = try_reader(str(tmp_path / "mine.py"), stored(tmp_path, "", files), {"AN": "angry"})
    assert trial.num_faces == len(faces) + 1  # it drops nothing for being blurred


def test_a_trial_counts_what_prepare_drops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
    def read(files):
        faces = [GRAY, GRAY[:1, :1], GRAY * 0, GRAY]
        boxes = [(-4, -4, 6, 6), None, None, (8, 0, 20, 12)]
        for number, (face, box) in enumerate(zip(faces, boxes)):
            yield {"face": face, "label": "sad", "votes": {"odd": 1}, "box": box, "name": str(number)}
        for number in range(60):
            yield {"drop": f"reason {number // 2 if number < 40 else 0}"}
    """
    trial = try_reader(written(tmp_path / "r.py", BEGIN + dedent(text)), tmp_path)
    assert trial.unreadable == {TINY: 1, CONSTANT: 1, BESIDE: 1}
    assert any("boxes are not looked at with --pixels-only" in note for note in trial.notes)
    assert "unknown labels: 'odd' (in votes): " in trial.faults[0]
    out = io.StringIO()
    Console(file=out, width=10_000).print(render(trial))
    shown = out.getvalue()
    assert (
        "dropped: 22 × reason 0; 2 × reason 1; 2 × reason 2; 2 × reason 3; 2 × reason 4; 2 × reason 5; 28 for 14 other reasons"
        in shown
    )


@pytest.mark.parametrize("answer", ["raise ValueError('no')", "sys.exit(0)", "yield {}"])
def test_a_reader_that_is_ended_early_and_protests(
    answer: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = f"def read(files):\n    try:\n        yield from ({{'face': GRAY, 'label': 'sad', 'name': str(n)}} for n in range(9))\n    except GeneratorExit:\n        {answer}\n"
    trial = try_reader(written(tmp_path / "r.py", BEGIN + text), tmp_path, most=2)
    gc.collect()
    assert trial.num_records == 2
    _, *lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2, "one for each reading"
    assert all(line.startswith("note: r.py: read() raises ") for line in lines)
