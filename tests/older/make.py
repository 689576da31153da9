"""Write what test_older.py reads: a home, a bucket, and what the program said of them. README.md has the command.

python make.py HOME OUT      # with the program of the version that is to be kept on PYTHONPATH

It is run once a version, by that version, through its command line. HOME is made anew; OUT gets `home.tar.xz`,
`bucket.tar.xz` and `expected.json`.
"""

import contextlib
import json
import lzma
import shutil
import sqlite3
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pyarrow.fs import copy_files
from safetensors.numpy import save_file
from skimage import data
from torchvision.models import squeezenet1_1

from fersweep.data_pipeline.faces.landmarker_bundle import NAME as BUNDLE
from fersweep.data_pipeline.sources.demo_faces import make_faces
from fersweep.trainables.keras_training.runtime import share_process
from tests.datasets import write_tiny_dataset
from tests.older.bucket import BUCKET, serve
from tests.older.questions import READING, WRITING, ask, losses
from tests.processes import kill_all, num_lines, start, wait_until

LEFT_OUT = (".lock", ".log", ".safetensors", ".db-shm", ".db-wal")
ASHA = {"grace_epochs": 1, "reduction": 2, "report_s": 0}
CURVE = {
    "trainable": "curve",
    "task": {"features": "blendshapes+landmarks", "fold": 1},
    "space": {"fix": {"noise": 0.02, "epoch_s": 0.01}},
    "search": {"num_trials": 5, "seed": 3},
    "stop": {**ASHA, "max_epochs": 6},
}
IMAGES = {
    "optimizer": "adamw",
    "momentum": 0.9,
    "warmup_epochs": 0.5,
    "loss": "cross_entropy",
    "class_weights": 0.5,
    "sampling": "balanced",
    "soft_labels": False,
    "label_smoothing": 0.1,
    "use_weight_decay": True,
    "weight_decay": 0.01,
    "use_clipnorm": True,
    "clipnorm": 1.0,
    "use_sam_rho": False,
    "use_ema": True,
    "ema_decay": 0.9,
    "use_early_stopping": True,
    "early_stopping_patience": 9,
    "plateau_patience": 1,
    "plateau_factor": 0.5,
    "batch_size": 16,
    "use_mixup": False,
    "use_cutmix": False,
}
SWEEPS: dict[str, dict[str, Any]] = {
    "curve": {**CURVE, "then": {"best": 2, "max_epochs": 8}},
    "interrupted": {**CURVE, "space": {"fix": {"epoch_s": 0.1}}, "stop": {**ASHA, "max_epochs": 9}},
    "after": {
        **CURVE,
        "space": {"fix": {"epoch_s": 0.01}},
        "search": {"num_trials": 4, "start_from": ["easy", {"sweep": "curve"}, {"sweep": "curve", "best": 1}]},
    },
    "away": {**CURVE, "storage": BUCKET, "space": {"fix": {"epoch_s": 0.1}}, "stop": {**ASHA, "max_epochs": 9}},
    "dense": {
        "trainable": "blendshape_dense",
        "task": {"features": "blendshapes", "fold": 0},
        "space": {
            "fix": {
                "num_layers": 1,
                "transform": "logit",
                "standardise": True,
                "use_ema": True,
                "batch_norm": True,
                "schedule": "cosine",
            },
            "range": {
                "units_0": [8, 16],
                "learning_rate": [5e-3, 5e-2],
                "batch_size": [16, 32],
                "optimizer": ["adam", "adamw"],
            },
        },
        "search": {"num_trials": 3, "seed": 1},
        "stop": {**ASHA, "max_epochs": 4},
        "keep_checkpoints": 2,
    },
    "cnn": {
        "trainable": "cnn",
        "task": {"features": "pixels", "fold": 0},
        "space": {
            "fix": IMAGES
            | {"num_stages": 2, "width_0": 16, "width_1": 16, "kernel_0": 3, "kernel_1": 3, "convs_per_stage": 1}
            | {"pooling": "max", "residual": True, "attention": "se", "batch_norm": True, "image_size": 48}
            | {"head_layers": 0, "tta": True},
            "range": {"schedule": ["plateau", "one_cycle"], "learning_rate": [3e-3, 1e-2]},
        },
        "search": {"num_trials": 2, "seed": 1},
        "stop": {"scheduler": "none", "max_epochs": 3, "report_s": 0, "metric": "val_accuracy"},
    },
    "trees": {
        "trainable": "transfer",
        "task": {"features": "pixels", "fold": 0},
        "space": {
            "fix": {
                "backbone": "squeezenet1_1",
                "head": "trees",
                "image_size": 48,
                "trees_per_epoch": 2,
                "tree_leaves": 4,
            }
        },
        "search": {"num_trials": 1},
        "stop": {"max_epochs": 2, "report_s": 0},
        "keep_checkpoints": 1,
    },
}


def write(home: Path, bucket: Path) -> None:
    """The home and a copy of the bucket, anew."""
    shutil.rmtree(home, ignore_errors=True)
    files, faces, photo = home / "files", home / "data" / "faces", home / "files" / "photo.jpg"
    files.mkdir(parents=True)
    write_tiny_dataset(home / "data" / "tiny", num_faces=36, pixels=False, origins=["one", "other"])
    make_faces(files / "faces", num_faces=42)
    told = [
        "--landmarks",
        "--views",
        "2",
        "--folds",
        "3",
        "--test-share",
        "0.3",
        "--image-size",
        "40",
        "--workers",
        "1",
    ]
    fersweep("prepare", files / "faces", "--out", faces, "--cache", files / "readings", *told, home=None)
    for made in ("faces", "readings"):
        shutil.rmtree(files / made)
    SWEEPS["trees"]["space"]["fix"]["weights"] = str(write_weights(files / "squeezenet.safetensors"))
    for name in ("curve", "after", "dense", "cnn", "trees"):
        fersweep("launch", write_sweep(files, name), "--data", faces, home=home)
    launch_and_kill(home, "interrupted", faces)
    fersweep("promote", "dense", "--force", home=home)
    fersweep("promote", "cnn", "--force", "--licence", "public domain", home=home)
    fersweep("champion", "rollback", home=home)
    with serve():
        launch_and_kill(home, "away", faces)
        shutil.rmtree(home / "sweeps" / "away")  # the machine is lost, its bucket is not
        shutil.rmtree(bucket, ignore_errors=True)
        copy_files(BUCKET, str(bucket))
    Image.fromarray(data.astronaut()[:256, 100:356]).save(photo, quality=80)


def record(home: Path, bucket: Path, out: Path) -> None:
    """Both as archives, and the answers: those that change nothing first."""
    found = {question: ask(question, home) for question in READING}
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as database:
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it is in one file
    pack(home, out / "home.tar.xz")
    for question in WRITING:
        ask(question, home)
    found["losses"] = {name: losses(home, name) for name in ("after", "dense", "cnn")}
    lines = [f"{json.dumps(question)}: {json.dumps(answer)}" for question, answer in found.items()]
    (out / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    pack(bucket, out / "bucket.tar.xz")


def fersweep(verb: str, *arguments: object, home: Path | None) -> None:
    """Run a verb to its end."""
    process = start(verb, *arguments, home=home)
    _, complained = process.communicate()
    if process.returncode:
        raise RuntimeError(complained)


def write_sweep(directory: Path, name: str) -> Path:
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, **SWEEPS[name]}))
    return path


def launch_and_kill(home: Path, name: str, faces: Path) -> None:
    """SIGKILL to everything that belongs to the sweep, in its midst."""
    journal = home / "sweeps" / name / "journal.jsonl"
    process = start("launch", write_sweep(home / "files", name), "--data", faces, home=home)
    wait_until(lambda: num_lines(journal) > 20, process)
    kill_all(process)


def write_weights(path: Path) -> Path:
    """Weights of a SqueezeNet, the same 1009 numbers again and again, so that they take little room when packed."""
    numbers = np.random.default_rng(0).normal(size=1009).astype(np.float32)
    state = {}
    for name, weights in squeezenet1_1().state_dict().items():
        scale = (2 / max(weights[0].numel(), 1)) ** 0.5 if weights.ndim > 1 else 0.0
        state[name] = np.resize(numbers, tuple(weights.shape)) * np.float32(scale)
    save_file(state, path)
    return path


def pack(directory: Path, archive: Path) -> None:
    """Without what is the same everywhere (MediaPipe's bundle), what nobody needs any more (locks, logs, the weights that
    a checkpoint has, too) and times; of pictures that MLflow shows only the first.
    """

    def packed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        path = Path(member.name)
        return None if path.name == BUNDLE or path.suffix in LEFT_OUT else member

    pictures = sorted(directory.rglob("*.png"))
    for picture in pictures[1:]:
        shutil.copyfile(pictures[0], picture)
    with lzma.open(archive, "wb", preset=9 | lzma.PRESET_EXTREME) as file, tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(directory, arcname=".", filter=packed)


if __name__ == "__main__":
    share_process()  # TensorFlow and torch meet where all questions are asked
    at, out = Path(sys.argv[1]), Path(sys.argv[2])
    write(at, at.with_name("bucket"))
    record(at, at.with_name("bucket"), out)
