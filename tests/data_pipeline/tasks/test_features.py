"""Landmarks as features: their geometry, their names, and that a photo's face becomes what a dataset's is."""

from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.schema import make_rows
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.faces import geometry
from fersweep.data_pipeline.faces.landmarker import Landmarker, _import_mediapipe
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.faces.mirror import MIRROR_LANDMARKS
from fersweep.data_pipeline.tasks import features
from fersweep.data_pipeline.tasks.photo_reader import PhotoReader
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES


def test_place_size_and_tilt_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    face = rng.random((1, 478, 3))
    face[0, 33], face[0, 263] = (0.2, 0.5, 0.1), (0.8, 0.5, -0.1)
    turn = np.array([[np.cos(0.4), np.sin(0.4), 0], [-np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])
    moved = 0.3 * face @ turn + (0.1, 0.5, 0.2)
    points = geometry.normalised(np.concatenate([face, moved]))
    assert (points.shape, points.dtype) == ((2, 478, 3), np.float32)
    np.testing.assert_allclose(points[0], points[1], atol=1e-5)
    np.testing.assert_allclose(points[0, [33, 263], :2], [[-0.5, 0], [0.5, 0]], atol=1e-6)
    np.testing.assert_allclose(points[0, :, 0], (face[0, :, 0] - 0.5) / 0.6, atol=1e-6)
    np.testing.assert_array_equal(geometry.normalised(face, [61, 4])[0], points[0, [61, 4]])
    assert np.isfinite(geometry.normalised(np.zeros((1, 478, 3)))).all()


def test_expressive_landmarks_are_of_both_sides_and_lie_where_mediapipe_says() -> None:
    connections = _import_mediapipe().tasks.vision.FaceLandmarksConnections
    assert len(set(geometry.EXPRESSIVE)) == 60
    assert {int(MIRROR_LANDMARKS[point]) for point in geometry.EXPRESSIVE} == set(geometry.EXPRESSIVE)
    for name, mine in (("LIPS", geometry.LIPS), ("EYE", geometry.EYES), ("EYEBROW", geometry.BROWS)):
        sides = [""] if name == "LIPS" else ["LEFT_", "RIGHT_"]
        edges = [edge for side in sides for edge in getattr(connections, f"FACE_LANDMARKS_{side}{name}")]
        assert set(mine) <= {point for edge in edges for point in (edge.start, edge.end)}


def test_names() -> None:
    both = ["jawOpen", "landmark61x", "landmark17y"]
    assert [features.kind(names) for names in (["pixels"], both, both[:1], both[1:])] == [
        "pixels",
        "blendshapes+landmarks",
        "blendshapes",
        "landmarks",
    ]
    assert features.described(both) == "1 blendshapes and 2 landmark coordinates"
    assert features.counterpart("landmark291x") == features.counterpart("landmark61x") != "landmark61y"
    for names, message in ((["landmark478x"], "nearest name"), (["landmark1"], "nearest"), (both[:1] * 2, "each once")):
        with pytest.raises(InputError, match=message):
            features.check_names(names, "task.blendshapes")


def test_mutual_information_is_that_of_the_bins() -> None:
    from sklearn.metrics import mutual_info_score

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 4000)
    x = np.stack([y + rng.normal(0, 0.3, 4000), rng.normal(size=4000), np.round(y / 2), np.ones(4000)], axis=1)
    nats = features.mutual_information(x.astype(np.float32), y, 3)
    assert nats[0] > 0.8
    assert nats[1] < 0.01
    np.testing.assert_allclose(nats[2], mutual_info_score(np.round(y / 2), y), rtol=1e-9)
    assert nats[3] == 0
    assert features.most_informative(["a", "b", "c", "d"], x, y, 3, 2) == ["a", "c"]


def test_a_photo_is_seen_as_the_dataset_saw_it(tmp_path: Path) -> None:
    from skimage import data

    names = [BLENDSHAPES[25], *features.landmark_names("expressive")]
    older = {"feature_names": names, "preprocessing": {"image_size": [48, 48], "border": 0.25, "size": 192}}
    newer = {"feature_names": names, "preprocessing": {**older["preprocessing"], "views": 2}}
    with PhotoReader(newer, older) as reader:
        (seen,) = reader.faces(data.astronaut())
    face = seen.face
    with Landmarker(find_bundle(), views=2) as landmarker:
        reading = landmarker.read(face)
    assert reading is not None
    rows = make_rows(
        (48, 48),
        pixels=np.stack([face] * 4),
        blendshapes=np.stack([reading.scores] * 4),
        landmarks=np.stack([reading.landmarks] * 4),
        source=list("abcd"),
        split=["train", "train", "val", "test"],
        label=["happy", "sad", "happy", "happy"],
        duplicate_of=[None] * 4,
    )
    fields = {
        "image_size": (48, 48),
        "landmarks": {"border": 0.25, "size": 192, "views": 2, "bundle_sha256": "0" * 64, "mediapipe": "1.2.2"},
        "has": {"pixels": True, "landmarks": True},
    }
    write_dataset(tmp_path / "one", rows, fields)
    spec = TaskSpec(features="blendshapes+landmarks")
    task = Task(tmp_path / "one", spec, feature_names=names)
    learned = task.load("val").x[0]
    assert newer["preprocessing"].items() <= task.arrays().preprocessing.items()
    np.testing.assert_array_equal(seen.features, learned)
    assert seen.views[1].features is not None
    assert 0 < np.abs(seen.views[1].features - learned).max() < 0.1, "one view of the two"
