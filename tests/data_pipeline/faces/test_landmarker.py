"""MediaPipe on a few faces: preprocessing, scores, photos."""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fersweep.data_pipeline.faces.crop import fit
from fersweep.data_pipeline.faces.landmarker import Landmarker, _explained, faces_in_photo
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def landmarker() -> Iterator[Landmarker]:
    with Landmarker(find_bundle(), num_faces=10) as made:
        yield made


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()


def test_preprocess_is_what_the_manifest_says(landmarker: Landmarker):
    face = np.full((48, 48), 200, np.uint8)
    seen = landmarker.preprocess(face)
    assert (seen.shape, seen.dtype) == ((192, 192, 3), np.uint8)
    assert seen[:24].max() == 0  # the border is 12 of 72 pixels: 32 of 192
    assert seen[96, 96].tolist() == [200, 200, 200]


def test_scores_of_a_smiling_face(landmarker: Landmarker, photo: np.ndarray):
    ((box, crop),) = faces_in_photo(photo, landmarker)
    scores = landmarker.blendshapes(fit(crop, (48, 48)))
    assert scores is not None
    assert (scores.shape, scores.dtype) == ((52,), np.float32)
    assert scores[BLENDSHAPES.index("mouthSmileLeft")] > 0.7
    assert scores[BLENDSHAPES.index("mouthFrownLeft")] < 0.1
    assert crop.shape == (box[3] - box[1], box[2] - box[0])


def test_the_same_face_has_the_same_scores(landmarker: Landmarker, photo: np.ndarray):
    face = fit(faces_in_photo(photo, landmarker)[0][1], (48, 48))
    np.testing.assert_array_equal(landmarker.blendshapes(face), landmarker.blendshapes(face))
    with Landmarker(find_bundle()) as other:
        np.testing.assert_array_equal(landmarker.blendshapes(face), other.blendshapes(face))


def test_no_face(landmarker: Landmarker):
    assert landmarker.blendshapes(np.full((48, 48), 128, np.uint8)) is None
    assert faces_in_photo(np.zeros((300, 400, 3), np.uint8), landmarker) == []


def test_face_at_the_edge_of_a_photo(landmarker: Landmarker, photo: np.ndarray):
    ((box, crop),) = faces_in_photo(np.ascontiguousarray(photo[75:330, 160:400]), landmarker)
    assert box[1] < 0
    assert crop.shape[0] == crop.shape[1]
    assert crop[0].max() == 0  # black beyond the photo


def test_several_faces_also_small_ones(landmarker: Landmarker, photo: np.ndarray):
    wide = np.zeros((512, 1400, 3), np.uint8)
    wide[:, :512] = photo
    wide[100:400, 1000:1300] = cv2.resize(photo[:350, 50:400], (300, 300))
    assert len(faces_in_photo(wide, landmarker)) == 2


def test_tensorflow_is_not_imported(landmarker: Landmarker):
    assert sys.modules.get("tensorflow", "absent") is not None


def test_a_missing_system_library_is_named():
    with pytest.raises(RuntimeError, match="libegl1 libgles2"), _explained():
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "num_faces"), [("pyfeat_single_face.jpg", 1), ("pyfeat_multi_face.jpg", 5)])
def test_real_photos(name: str, num_faces: int, realdata: Path, landmarker: Landmarker):
    image = cv2.cvtColor(cv2.imread(str(realdata / "media" / name)), cv2.COLOR_BGR2RGB)
    assert len(faces_in_photo(image, landmarker)) == num_faces
