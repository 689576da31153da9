"""A small source of every format of the registry, true to its names and tables, and the faces that it must give."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from fersweep.data_pipeline.sources.decode import Face, decode
from fersweep.data_pipeline.sources.source import Survey, open_source
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

Files = dict[str, bytes]
NUM_FACES = 12
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


class Expected(NamedTuple):
    """What a face must come out as."""

    label: str
    split: str | None = None
    subject: str | None = None


class Example(NamedTuple):
    """Files of a source in which each face's content is unique."""

    files: Files
    faces: dict[bytes, Expected]
    """Pixels or scores → what is said of them."""
    dropped: dict[str, int] = {}  # noqa: RUF012
    alone: str | None = None
    """The file that may be given instead of the folder."""
    tar: bool = True
    """Can it be read from a tar?"""


def pixels(number: int, side: int = 48) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side)).astype(np.uint8)


def encoded(face: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, face)[1].tobytes()


def content(face: Face) -> bytes:
    return face.data if face.kind == "scores" else decode(face).tobytes()


def image(data: bytes) -> Face:
    return Face("x", "happy", None, data, "image")


def found(path: Path, format: str | None = None, labels: Mapping[str, str] | None = None) -> dict[bytes, Expected]:
    """What is said of each face of a source."""
    faces = open_source(path, format, labels).faces()
    return {content(face): Expected(face.label, face.split, face.subject) for face in faces}


def survey(path: Path, format: str | None = None, labels: Mapping[str, str] | None = None) -> Survey:
    return open_source(path, format, labels).survey()


def pixel_table(labels: tuple[str, ...], name: str) -> Example:
    lines, faces = ["emotion,pixels,Usage"], {}
    for number in range(NUM_FACES):
        label, split = labels[number % len(labels)], ("train", "val", "test")[number % 3]
        lines.append(f"{labels.index(label)},{' '.join(map(str, pixels(number).ravel()))},{USAGES[split]}")
        faces[pixels(number).tobytes()] = Expected(label, split)
    return Example({name: "\n".join(lines).encode(), "data/README.md": b"not data"}, faces)


def ferplus() -> Example:
    """Votes: in order the columns of FER+, neutral to NF."""
    table, faces = pixel_table(FER2013, "data/fer2013.csv"), {}
    ids = iter(table.faces.items())
    lines = [
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF",
    ]
    for number, (votes, label) in enumerate(
        [
            ("4,0,0,1,3,2,0,0,0,0", None),  # 4 of 9 that count
            ("6,0,1,1,0,0,0,0,2,0", "neutral"),
            ("5,5,0,0,0,0,0,0,0,0", None),
            ("0,0,0,0,0,0,0,0,0,10", None),  # no face
            ("0,0,1,0,0,0,0,1,8,0", None),  # unknown
            ("1,1,1,1,1,1,1,1,1,1", None),
            ("0,6,1,1,1,1,0,0,0,0", "happy"),
            ("0,0,0,1,0,0,1,8,0,0", "contempt"),
            ("0,0,9,0,0,0,1,0,0,0", "surprise"),
            ("0,0,0,9,0,0,1,0,0,0", "sad"),
            ("0,0,0,0,7,3,0,0,0,0", "angry"),
            ("0,0,0,0,2,8,0,0,0,0", "disgust"),
        ]
    ):
        key, given = next(ids)
        name = f"fer{number:07d}.png" if number % 2 else ""
        lines.append(f"{USAGES[str(given.split)]},{name},{votes}")
        if label:
            faces[key] = Expected(label, given.split)
    dropped = {"no majority of the votes": 3, "voted to be no face": 1, "voted unknown": 1}
    files = table.files | {"data/fer2013new.csv": "\n".join(lines).encode()}
    return Example(files, faces, dropped, alone="data/fer2013new.csv", tar=False)


def folders() -> Example:
    files: Files = {"__MACOSX/train/happy/._0.png": b"junk", "notes.txt": b"not data", "cover.png": encoded(pixels(99))}
    faces = {}
    for number in range(NUM_FACES):
        label, split = FER2013[number % 7], ("train", "val", "test")[number % 3]
        folder = {"val": "validation", "test": "test"}.get(split, split)
        files[f"data/{folder}/{label.title()}/{number}.png"] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected(label, split)
    return Example(files, faces, {"in no class folder": 1})


def jonathanoheix() -> Example:
    files, faces = {}, {}
    for number in range(NUM_FACES):
        label, split = FER2013[number % 7], ("train", "val")[number % 2]
        folder = "train" if split == "train" else "validation"
        files[f"images/{folder}/{label}/{number + 10_000}.jpg"] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected(label, split)
    return Example(files, faces)


def ckplus() -> Example:
    classes = {"anger": "angry", "contempt": "contempt", "happy": "happy", "sadness": "sad"}
    files, faces = {}, {}
    for number in range(NUM_FACES):
        name, subject = list(classes)[number % 4], f"S{10 + number // 3:03d}"
        files[f"CK+48/{name}/{subject}_00{number % 3}_{number:08d}.png"] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected(classes[name], None, subject)
    return Example(files, faces)


def jaffe() -> Example:
    classes = {
        "AN": "angry",
        "DI": "disgust",
        "FE": "fear",
        "HA": "happy",
        "NE": "neutral",
        "SA": "sad",
        "SU": "surprise",
    }
    files: Files = {"jaffe/README": b"not data"}
    faces = {}
    for number in range(NUM_FACES):
        code, subject = list(classes)[number % 7], ("KA", "KL", "YM")[number % 3]
        files[f"jaffe/{subject}.{code}{number % 3 + 1}.{number}.tiff"] = encoded(pixels(number), ".tiff")
        faces[pixels(number).tobytes()] = Expected(classes[code], None, subject)
    return Example(files, faces)


def ckplus_sequences() -> Example:
    """Sequences of 8 frames of two persons, the second without a label; a label without its sequence."""
    files, faces = {}, {}
    for number in range(3 * 8):
        subject, sequence, frame = ("S005", "S005", "S010")[number // 8], number // 8 + 1, number % 8 + 1
        name = f"{subject}_{sequence:03d}_{frame:08d}"
        place = f"{subject}/{sequence:03d}/{name}"
        files[f"CK+/cohn-kanade-images/{place}.png"] = encoded(pixels(number))
        files[f"CK+/Landmarks/{place}_landmarks.txt"] = b"1.0 2.0"
        if number < 16 and frame in (1, 6, 7, 8):
            label = "neutral" if frame == 1 else ("disgust", "contempt")[number // 8]
            faces[pixels(number).tobytes()] = Expected(label, None, subject)
        if number in (7, 15):
            code = (3, 2)[number // 8]
            files[f"CK+/Emotion/{place}_emotion.txt"] = f"   {code}.0000000e+00\n".encode()
    files["CK+/Emotion/S999/001/S999_001_00000018_emotion.txt"] = b"   7.0000000e+00\n"
    dropped = {
        "frame between neutral and peak": 8,
        "frame of a sequence without a label": 8,
        "image is missing": 1,
    }
    return Example(files, faces, dropped)


def named_faces(names: Mapping[str, tuple[str, str | None, str]]) -> Example:
    """Images under `names`: name → label, split, subject."""
    files, faces = {}, {}
    for number, (name, said) in enumerate(names.items(), start=3):
        files[name] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected(*said)
    return Example(files, faces)


def rafdb() -> Example:
    labels = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # 1 to 7
    files, faces, lines = {}, {}, []
    for number in range(NUM_FACES):
        name, split = (f"train_{number:05d}", "train") if number % 3 else (f"test_{number:04d}", "test")
        lines.append(f"{name}.jpg {number % 7 + 1}")
        files[f"basic/Image/aligned/{name}_aligned.jpg"] = encoded(pixels(number))
        files[f"basic/Image/original/{name}.jpg"] = encoded(pixels(number + 100))
        faces[pixels(number).tobytes()] = Expected(labels[number % 7], split)
    lines.append("test_9999.jpg 4")
    files["basic/EmoLabel/list_patition_label.txt"] = "\n".join(lines).encode()
    return Example(files, faces, {"image is missing": 1}, tar=False)


def affectnet() -> Example:
    labels = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    tables = {"train": [head], "val": [head]}
    files, faces = {}, {}
    for number in range(NUM_FACES):
        split = ("train", "val")[number % 2]
        tables[split].append(f"{number % 3}/{number}.jpg,4,5,20,30,1;2;3,{number % 8},0.1,-0.2")
        files[f"Manually_Annotated_Images/{number % 3}/{number}.jpg"] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected(labels[number % 8], split)
    tables["train"] += [f"9/x.jpg,NULL,NULL,NULL,NULL,NULL,{number},-2,-2" for number in (8, 9, 10, 10, 1)]
    files |= {"training.csv": "\n".join(tables["train"]).encode(), "validation.csv": "\n".join(tables["val"]).encode()}
    dropped = {
        "expression 8: none of the eight": 1,
        "expression 9: uncertain": 1,
        "expression 10: no face": 2,
        "image is missing": 1,
    }
    return Example(files, faces, dropped, tar=False)


def affectnet_npy() -> Example:
    labels = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
    files, faces = {}, {}
    for number in range(NUM_FACES):
        split = ("train", "val")[number % 2]
        written = (np.array(str(number % 8)), np.int64(number % 8), np.array([float(number % 8)]))[number % 3]
        files[f"AffectNet/{split}_set/images/{number}.png"] = encoded(pixels(number))
        files[f"AffectNet/{split}_set/annotations/{number}_exp.npy"] = npy(written)
        files[f"AffectNet/{split}_set/annotations/{number}_val.npy"] = npy(np.array("-0.5"))
        faces[pixels(number).tobytes()] = Expected(labels[number % 8], split)
    odd = {
        "20": npy(np.array("8")),
        "21": npy(np.array(b"9")),
        "22": npy(np.array("10")),
        "23": npy(np.array({}, dtype=object)),  # pickled
        "24": npy(np.arange(9)),
        "25": npy(np.array("1"))[:-1],
        "26": npy(np.array("1")).replace(b"()", b"(9999999999999,)"),
    }
    for name, label in odd.items():
        files[f"AffectNet/train_set/images/{name}.png"] = encoded(pixels(99))
        files[f"AffectNet/train_set/annotations/{name}_exp.npy"] = label
    files["AffectNet/val_set/images/27.png"] = encoded(pixels(99))
    files["AffectNet/val_set/annotations/28_exp.npy"] = npy(np.array("1"))
    dropped = {
        "expression 8: none of the eight": 1,
        "expression 9: uncertain": 1,
        "expression 10: no face": 1,
        "label cannot be read": 4,
        "no label": 1,
        "image is missing": 1,
    }
    return Example(files, faces, dropped)


def npy(array: np.ndarray | np.generic) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def faces_csv() -> Example:
    lines, faces = ["path,label,split,subject,votes"], {}
    files: Files = {}
    for number in range(NUM_FACES):
        split, subject = (None, "train", "test")[number % 3], f"person {number % 4}"
        lines.append(f'images/{number}.png,joy,{split or ""},{subject},"happy:7, sad:3"')
        files[f"set/images/{number}.png"] = encoded(pixels(number))
        faces[pixels(number).tobytes()] = Expected("happy", split, subject)
    lines += ["images/none.png,sad,,,", "images/0.png,,,,"]
    files["set/faces.csv"] = "\n".join(lines).encode()
    return Example(files, faces, {"image is missing": 1, "no label": 1}, alone="set/faces.csv", tar=False)


def blendshape_csv() -> Example:
    names = ("blend1", "mouthSmileLeft", "blend45", "mood", "label", "split", "subject")
    lines, faces = [",".join(names)], {}
    rng = np.random.default_rng(0)
    for number in range(NUM_FACES):
        scores = np.full(52, np.nan, np.float32)
        scores[[1, 44, 45]] = rng.random(3).round(4)
        written = ",".join(str(scores[index]) for index in (1, 44, 45))
        label = ("happy", "sad")[number % 2]
        lines.append(f"{written},x,{label},{'train' if number % 3 else 'test'},p{number}")
        faces[scores.astype("<f4").tobytes()] = Expected(label, "train" if number % 3 else "test", f"p{number}")
    lines += [
        "0.1,0.2,1.5,x,sad,train,p",
        "0.1,nan,0.5,x,sad,train,p",
        "0.1,,0.5,x,sad,train,p",
        "0.1,0.2,0.3,x,,train,p",
    ]
    assert BLENDSHAPES[44] == "mouthSmileLeft"
    dropped = {"a score not between 0 and 1": 1, "a score missing or no number": 2, "no label": 1}
    return Example({"tables/blends.csv": "\n".join(lines).encode()}, faces, dropped)


JAFFE_SORTED = {
    "jaffe/train/anger/KA.AN1.39.tiff": ("angry", "train", "KA"),
    "jaffe/train/happy/ka.ha2.30.tiff": ("happy", "train", "KA"),
    "jaffe/test/AN/KL-AN1-167.png": ("angry", "test", "KL"),
    "jaffe/test/SU/kl_su3_90.tiff": ("surprise", "test", "KL"),
    "jaffe/test/YM/YM_NE1_12_flipped.png": ("neutral", "test", "YM"),
}
KDEF = {
    "KDEF/AF01/AF01ANS.JPG": ("angry", None, "F01"),
    "KDEF/BF01/BF01AFHL.JPG": ("fear", None, "F01"),
    "KDEF/AM01/AM01NES.JPG": ("neutral", None, "M01"),
    "KDEF/AM35/am35sufr.jpg": ("surprise", None, "M35"),
    "sorted/train/disgust/AM02DIS.JPG": ("disgust", "train", "M02"),
}
RAFD = {
    "RafD/Rafd090_01_Caucasian_female_angry_frontal.jpg": ("angry", None, "01"),
    "RafD/Rafd045_01_Caucasian_female_contemptuous_left.jpg": ("contempt", None, "01"),
    "RafD/Rafd000_73_Moroccan_male_surprised_right.jpg": ("surprise", None, "73"),
    "sorted/test/sad/Rafd180_10_Caucasian_kid_male_sad_frontal.jpg": ("sad", "test", "10"),
}

# By format; after a comma another layout of it.
EXAMPLES: dict[str, Callable[[], Example]] = {
    "fer2013_csv": lambda: pixel_table(FER2013, "data/fer2013.csv"),
    "ferplus": ferplus,
    "ckextended": lambda: pixel_table((*FER2013, "contempt"), "data/ckextended.csv"),
    "folders": folders,
    "jonathanoheix": jonathanoheix,
    "ckplus": ckplus,
    "ckplus, sequences": ckplus_sequences,
    "jaffe": jaffe,
    "jaffe, sorted": lambda: named_faces(JAFFE_SORTED),
    "kdef": lambda: named_faces(KDEF),
    "rafd": lambda: named_faces(RAFD),
    "rafdb": rafdb,
    "affectnet": affectnet,
    "affectnet_npy": affectnet_npy,
    "faces_csv": faces_csv,
    "blendshape_csv": blendshape_csv,
}


def write_folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path.with_suffix(".zip")


def write_zip_of_windows(path: Path, files: Files) -> Path:
    """With backslashes, folders as entries, a folder around all, and no suffix that says what it is."""
    backslashed = {name.replace("/", "\\"): data for name, data in wrapped(files).items()}
    folders = {name.rpartition("\\")[0] + "\\": b"" for name in backslashed if "\\" in name}
    return write_zip(path, folders | backslashed).rename(path.with_suffix(".dat"))


def write_tar(path: Path, files: Files, suffix: str = ".tar") -> Path:
    path = path.with_name(path.name + suffix)
    kinds: dict[str, Any] = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".txz": "w:xz"}
    with tarfile.open(path, kinds[suffix]) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_tar_gz(path: Path, files: Files) -> Path:
    return write_tar(path, files, ".tar.gz")


def write_tar_bz2(path: Path, files: Files) -> Path:
    """As `tar cj .` writes it, without a suffix that says what it is."""
    return write_tar(path, {f"./{name}": data for name, data in wrapped(files).items()}, ".tar.bz2").rename(path)


def wrapped(files: Files) -> Files:
    """In a folder that is named as the archive; an image that is in no folder stays so."""
    return {f"wrapper/{name}" if "/" in name else name: data for name, data in files.items()}


CONTAINERS = {
    "folder": write_folder,
    "zip": write_zip,
    "zip of Windows": write_zip_of_windows,
    "tar": write_tar,
    "tar.gz": write_tar_gz,
    "tar.bz2": write_tar_bz2,
}
