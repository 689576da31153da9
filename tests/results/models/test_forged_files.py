"""Files of models that somebody else wrote, or changed: what they ask for and claim costs one line."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.common.processes import bounded_memory
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.models.export import export
from fersweep.results.models.open_model import open_model
from fersweep.trainables.exports import card, onnx_files

pytestmark = pytest.mark.slow

GB = 2**30


def write_onnx(path: Path, *nodes: Any, weights: Any = None, **constants: Any) -> Path:
    """A net of 52 scores whose answers are y, of `nodes` that know its input x, and its probabilities s."""
    weights = weights or numpy_helper.from_array(np.zeros((52, 7), np.float32), "w")
    net = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["s"])]
    graph = helper.make_graph(
        [*net, *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 52])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights, *(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def with_numbers(path: Path, count: float) -> Path:
    """A net that makes `count` numbers, and says how many only while it runs."""
    return write_onnx(
        path,
        helper.make_node("ReduceMax", ["x"], ["most"]),
        helper.make_node("Mul", ["most", "nought"], ["nothing"]),
        helper.make_node("Add", ["nothing", "count"], ["many"]),
        helper.make_node("Cast", ["many"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["numbers"]),
        helper.make_node("ReduceMax", ["numbers"], ["zero"], keepdims=0),
        helper.make_node("Add", ["s", "zero"], ["y"]),
        nought=np.float32(0),
        count=np.float32(count),
        one=np.int64([1]),
    )


def refused(path: Path, home: Path) -> str:
    with pytest.raises(InputError, match=str(path)) as error:
        open_model(str(path), home).predict(np.zeros((3, 52), np.float32))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_onnx_file_that_asks_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"large": GB, "terabytes": 1e12, "absurd": 1e18}
    paths = {name: with_numbers(tmp_path / f"{name}.onnx", size) for name, size in sizes.items()}
    monkeypatch.setattr(card, "MAX_BYTES", GB // 2)
    assert "cannot be used as a model" in refused(paths["large"], tmp_path), (
        "four gigabytes, more than a process has free from before"
    )
    monkeypatch.undo()
    for name in ("terabytes", "absurd"):
        refused(paths[name], tmp_path)
    few = open_model(str(with_numbers(tmp_path / "few.onnx", 10)), tmp_path)
    np.testing.assert_allclose(few.predict(np.zeros((3, 52), np.float32)), np.full((3, 7), 1 / 7), rtol=1e-6)


def test_memory_is_bounded_in_the_block_alone() -> None:
    with bounded_memory(GB // 4):
        with pytest.raises(MemoryError):
            bytearray(4 * GB)
        bytearray(GB // 16)
    bytearray(4 * GB)


def test_an_onnx_file_that_answers_otherwise(tmp_path: Path) -> None:
    tile = helper.make_node("Tile", ["s", "times"], ["y"])
    refused(write_onnx(tmp_path / "wide.onnx", tile, times=np.int64([1, 10**10])), tmp_path)
    refused(write_onnx(tmp_path / "deep.onnx", tile, times=np.int64([2, 1])), tmp_path)
    refused(write_onnx(tmp_path / "scalar.onnx", helper.make_node("ReduceMax", ["s"], ["y"], keepdims=0)), tmp_path)
    shape = helper.make_node("Shape", ["x"], ["sizes"])
    text = helper.make_node("Cast", ["sizes"], ["y"], to=TensorProto.STRING)
    refused(write_onnx(tmp_path / "text.onnx", shape, text), tmp_path)


def test_an_onnx_file_that_claims_what_it_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(bytes(52 * 7 * 4))
    (tmp_path / "net").mkdir()
    softmax = helper.make_node("Identity", ["s"], ["y"])
    for place in ("../secret", str(tmp_path / "secret"), "/dev/zero", "nowhere"):
        outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[52, 7], data_location=TensorProto.EXTERNAL)
        outside.external_data.add(key="location", value=place)
        refused(write_onnx(tmp_path / "net" / "outside.onnx", softmax, weights=outside), tmp_path)
    empty = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[52, 10**12])
    refused(write_onnx(tmp_path / "claims.onnx", softmax, weights=empty), tmp_path)
    monkeypatch.setattr(onnx_files, "MAX_FILE_BYTES", 100)
    assert "more than 100 bytes" in refused(write_onnx(tmp_path / "long.onnx", softmax), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", 7),
        ("classes", ["happy", "happy"]),
        ("classes", ["happy", ["sad"]]),
        ("feature_names", "pixels"),
        ("groups", {"happy": 7}),
        ("preprocessing", {"image_size": [10**6, 10**6]}),
        ("preprocessing", {"image_size": 48}),
        ("preprocessing", {"border": "wide"}),
        ("preprocessing", {"size": 10**9}),
        ("preprocessing", [1]),
        ("fingerprint", 1),
    ],
)
def test_what_an_onnx_file_says_of_itself(key: str, value: Any, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", helper.make_node("Identity", ["s"], ["y"]))
    model = onnx.load(path)
    helper.set_model_props(model, {f"fersweep.{key}": json.dumps(value)})
    onnx.save(model, path)
    assert f"its {key} cannot be" in refused(path, tmp_path)


def test_an_onnx_file_with_other_bytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It may stay a model; what onnxruntime raises otherwise, or prints, is one line."""
    path = write_onnx(tmp_path / "net.onnx", helper.make_node("Identity", ["s"], ["y"]))
    content, num_refused = path.read_bytes(), 0
    for seed in range(100):
        drawn, changed = random.Random(seed), bytearray(content)
        for _ in range(3):
            changed[drawn.randrange(len(changed)) if seed % 2 else drawn.randrange(100)] = drawn.randrange(256)
        path.write_bytes(changed)
        try:
            open_model(str(path), tmp_path).predict(np.zeros((3, 52), np.float32))
        except InputError:  # whose message is one line
            num_refused += 1
    assert num_refused > 30
    assert capfd.readouterr() == ("", "")


def changed_member(path: Path, to: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy of a zip with one member changed."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(to, "w") as after:
        for member in before.namelist():
            content = before.read(member)
            after.writestr(member, change(content) if member == name else content)
    return to


def test_keras_files_that_claim_much(arrays: TaskArrays, tmp_path: Path) -> None:
    checkpoint, keras, lite = tmp_path / "checkpoint", tmp_path / "net.keras", tmp_path / "net.tflite"
    trainables.load("blendshape_dense").build({"units": [4]}, arrays, 0).save(checkpoint)
    for path in (keras, lite):
        export(str(checkpoint), path, tmp_path)
    for name, member, change in (
        ("wide", "config.json", lambda text: text.replace(b'"units": 4', b'"units": 4000000000000')),
        ("deep", "config.json", lambda _: b"[" * 100_000),
        ("sides", "model.json", lambda text: text.replace(b'"border": 0.25', b'"border": "wide"')),
        ("cards", "model.json", lambda _: b"[" * 100_000),
        ("bomb", "model.json", lambda _: b" " * (card.MAX_CARD_BYTES + 1)),
    ):
        refused(changed_member(keras, tmp_path / f"{name}.keras", member, change), tmp_path)
    content = bytearray(lite.read_bytes())
    content[len(content) // 2 - 800] ^= 0xFF
    lite.write_bytes(content)
    assert "damaged, or was changed" in refused(lite, tmp_path)


def test_a_safetensors_file_that_claims_much(pixels: TaskArrays, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    trainables.load("pixel_mlp").build({"units": [4]}, pixels, 0).save(tmp_path / "checkpoint")
    export(str(tmp_path / "checkpoint"), path, tmp_path)
    assert path.stat().st_mode & 0o777 == (tmp_path / "checkpoint" / "model.json").stat().st_mode & 0o777
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    head, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    hparams = json.loads(head["__metadata__"]["hparams"])
    for changes in (
        {"hparams": json.dumps({**hparams, "units": [10**12]})},
        {"hparams": "[1]"},
        {"trainable": '"os:system"'},
        {"preprocessing": '{"image_size": [1000000, 1000000]}'},
        {"classes": "7"},
    ):
        text = json.dumps({**head, "__metadata__": {**head["__metadata__"], **changes}}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
        refused(path, tmp_path)
    path.write_bytes((2**62).to_bytes(8, "little") + rest)
    refused(path, tmp_path)
