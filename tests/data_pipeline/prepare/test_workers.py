"""What a worker does with a face: crop, read, remember; and what altered copies are."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fersweep.data_pipeline.faces.altered_copies import augmented
from fersweep.data_pipeline.faces.crop import (
    CONSTANT,
    ELONGATED,
    MAX_FACES,
    SMALL,
    TINY,
    degenerate,
    face_crops,
    find_faces,
    fit,
)
from fersweep.data_pipeline.faces.landmarker import VIEWS, Landmarker, faces_in_photo
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.faces.mirror import MIRROR_LANDMARKS, MIRROR_SCORES
from fersweep.data_pipeline.prepare.reading_cache import READING, UNKNOWN, ReadingCache, Sight, as_row
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

pytestmark = pytest.mark.slow

SIGHT = Sight(0.25, 192, 1)


@pytest.fixture(scope="module")
def landmarker() -> Iterator[Landmarker]:
    with Landmarker(find_bundle(), views=len(VIEWS)) as made:
        yield made


@pytest.fixture(scope="module")
def finder() -> Iterator[Landmarker]:
    with Landmarker(find_bundle(), num_faces=MAX_FACES) as made:
        yield made


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope="module")
def face(photo: np.ndarray, finder: Landmarker) -> np.ndarray:
    return fit(faces_in_photo(photo, finder)[0][1], (64, 64))


class TestViews:
    def test_a_reading_is_the_mean_of_what_the_views_show(self, face: np.ndarray, landmarker: Landmarker):
        reading = landmarker.read(face)
        each = [found for view in VIEWS if (found := landmarker._look(face, view)) is not None]
        assert reading is not None
        assert reading.num_views == len(each) == 4
        np.testing.assert_allclose(reading.scores, np.mean([one.scores for one in each], axis=0), rtol=1e-6)
        np.testing.assert_allclose(reading.landmarks, np.mean([one.landmarks for one in each], axis=0), rtol=1e-6)
        assert 0 < reading.spread < 0.2
        assert each[0].spread == 0

    def test_every_view_sees_the_same_points_of_the_face(self, face: np.ndarray, landmarker: Landmarker):
        readings = [landmarker._look(face, view) for view in VIEWS]
        points = np.array([one.landmarks[:, :2] for one in readings if one])
        assert np.abs(points - points[0]).mean() < 0.02  # of the face's side, the mirrored view included
        assert np.abs([one.pose - readings[0].pose for one in readings if one and readings[0]]).max() < 10  # degrees

    def test_the_mirror_image_says_the_same(self, face: np.ndarray, landmarker: Landmarker):
        reading, mirrored = landmarker.read(face), landmarker.read(np.ascontiguousarray(face[:, ::-1]))
        assert reading is not None
        assert mirrored is not None
        smile = BLENDSHAPES.index("mouthSmileLeft")
        assert abs(reading.scores[smile] - mirrored.scores[MIRROR_SCORES][smile]) < 0.1
        turned = mirrored.landmarks[MIRROR_LANDMARKS] * [-1, 1, 1] + [1, 0, 0]
        assert np.abs(reading.landmarks[:, :2] - turned[:, :2]).mean() < 0.01
        assert abs(reading.pose[0] + mirrored.pose[0]) < 5

    def test_mirroring_twice_changes_nothing(self):
        for order in (MIRROR_SCORES, MIRROR_LANDMARKS):
            assert (order[order] == np.arange(len(order))).all()


class TestCache:
    def ids(self, *numbers: int) -> np.ndarray:
        return np.array([number.to_bytes(32, "little") for number in numbers], "S32")  # with zero bytes at the end

    def readings(self, *numbers: int) -> np.ndarray:
        found = np.zeros(len(numbers), READING)
        found["scores"][:, 0], found["num_views"] = numbers, 1
        return found

    def test_finds_what_was_added_under_the_same_sight(self, tmp_path: Path):
        ReadingCache(tmp_path, SIGHT, "1").add(self.ids(3, 1, 256), self.readings(3, 1, 256))
        ReadingCache(tmp_path, SIGHT, "1").add(self.ids(2), np.array([as_row(None)]))
        cache = ReadingCache(tmp_path, SIGHT, "1")
        found = cache.find(self.ids(256, 7, 2, 3))
        assert found["num_views"].tolist() == [1, UNKNOWN, 0, 1]
        assert found["scores"][[0, 3], 0].tolist() == [256, 3]
        for other in (ReadingCache(tmp_path, Sight(0.25, 192, 4), "1"), ReadingCache(tmp_path, SIGHT, "2")):
            assert (other.find(self.ids(1, 2, 3))["num_views"] == UNKNOWN).all()

    def test_merging_keeps_everything(self, tmp_path: Path):
        cache = ReadingCache(tmp_path, SIGHT, "1")
        for number in range(5):
            cache.add(self.ids(number, number + 100), self.readings(number, number + 100))
        cache.merge()
        assert len(list(cache.directory.iterdir())) == 2
        found = ReadingCache(tmp_path, SIGHT, "1").find(self.ids(*range(5), *range(100, 105)))
        assert found["scores"][:, 0].tolist() == [*range(5), *range(100, 105)]

    def test_damage_is_a_miss(self, tmp_path: Path):
        cache = ReadingCache(tmp_path, SIGHT, "1")
        cache.add(self.ids(1), self.readings(1))
        (readings,) = cache.directory.glob("*.readings.npy")
        readings.write_bytes(readings.read_bytes()[:200])
        assert ReadingCache(tmp_path, SIGHT, "1").find(self.ids(1))["num_views"].tolist() == [UNKNOWN]

    def test_a_directory_that_cannot_be_written_is_left(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        assert not ReadingCache(tmp_path / "file", SIGHT, "1").add(self.ids(1), self.readings(1))


class TestCrop:
    def test_a_small_picture_is_the_face(self, face: np.ndarray, finder: Landmarker):
        colour = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
        (crop,) = face_crops(colour, lambda: finder, None, all_faces=False).faces
        assert crop.shape == face.shape

    def test_the_face_of_a_photo_is_cropped(self, photo: np.ndarray, finder: Landmarker):
        (crop,) = face_crops(photo, lambda: finder, None, all_faces=False).faces
        np.testing.assert_array_equal(crop, faces_in_photo(photo, finder)[0][1])

    def test_a_photo_that_its_face_fills_stays_whole(self, photo: np.ndarray, finder: Landmarker):
        ((left, top, right, bottom), _) = faces_in_photo(photo, finder)[0]
        tight = cv2.resize(photo[top:bottom, left:right], (2 * SMALL, 2 * SMALL))
        (crop,) = face_crops(tight, lambda: finder, None, all_faces=False).faces
        assert crop.shape == (2 * SMALL, 2 * SMALL)

    def test_the_largest_or_all(self, photo: np.ndarray, finder: Landmarker):
        wide = np.zeros((512, 1024, 3), np.uint8)
        wide[:, :512] = photo
        wide[100:400, 600:900] = cv2.resize(photo[:350, 50:400], (300, 300))
        (largest,) = face_crops(wide, lambda: finder, None, all_faces=False).faces
        both = face_crops(wide, lambda: finder, None, all_faces=True).faces
        assert len(both) == 2
        assert len(largest) == max(map(len, both))

    @pytest.mark.parametrize(
        ("shape", "all_faces", "is_kept"),
        [((300, 300), False, True), ((300, 300), True, False), ((300, 400), False, False), ((600, 600), False, False)],
    )
    def test_a_picture_without_a_face(self, shape: tuple[int, int], all_faces: bool, is_kept: bool, finder: Landmarker):
        """Is kept whole where it is shaped like a crop of a face."""
        found = face_crops(np.zeros((*shape, 3), np.uint8), lambda: finder, None, all_faces)
        assert [crop.shape for crop in found.faces] == [shape] * is_kept
        assert found.is_whole == is_kept

    def test_nothing_is_looked_for_without_a_finder(self, photo: np.ndarray):
        found = face_crops(photo, None, None, all_faces=False)
        assert (found.faces[0].shape, found.is_whole) == (photo.shape[:2], True)

    def test_predict_finds_what_prepare_finds(self, photo: np.ndarray, finder: Landmarker):
        """A face already, the face of a photo, a wide picture whose face is high."""
        ((left, top, right, bottom), _) = faces_in_photo(photo, finder)[0]
        tight = np.ascontiguousarray(photo[top:bottom, left:right])
        wide = cv2.copyMakeBorder(cv2.resize(tight, (256, 256)), 0, 0, 0, 200, cv2.BORDER_CONSTANT)
        for picture in (cv2.resize(tight, (48, 48)), cv2.resize(tight, (256, 256)), photo, wide):
            gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            (crop,) = face_crops(picture, lambda: finder, None, all_faces=False).faces
            (((left, top, right, bottom), seen),) = find_faces(picture, gray, lambda: finder, several=True)
            np.testing.assert_array_equal(seen, crop)
            assert (bottom - top, right - left) == crop.shape
        assert crop.shape[0] == crop.shape[1], "of the wide picture only its face"

    @pytest.mark.parametrize(
        ("shape", "reason"), [((7, 9), TINY), ((8, 33), ELONGATED), ((9, 9), CONSTANT), ((8, 32), CONSTANT)]
    )
    def test_what_shows_no_face(self, shape: tuple[int, int], reason: str):
        gray = np.full(shape, 7, np.uint8)
        assert degenerate(gray) == reason
        if reason is CONSTANT:
            gray[0, 0] = 8
            assert degenerate(gray) is None

    def test_the_box_of_the_source(self, photo: np.ndarray, finder: Landmarker):
        (crop,) = face_crops(photo, lambda: finder, (-20, 10, 80, 90), all_faces=False).faces
        assert crop.shape == (100, 100)
        assert crop[50, 0] == 0  # beyond the photo
        for wrong in ((0, 0, 10**9, 10**9), (600, 600, 700, 700)):
            (crop,) = face_crops(photo, lambda: finder, wrong, all_faces=False).faces
            assert crop.shape == photo.shape[:2]


class TestAugmented:
    def test_the_same_for_the_same_face_number_and_seed(self, face: np.ndarray):
        name = bytes(range(32))
        one, text = augmented(face, name, 2, 0)
        assert (augmented(face, name, 2, 0)[0] == one).all()
        others = [augmented(face, name, 3, 0), augmented(face, name, 2, 1), augmented(face, bytes(32), 2, 0)]
        assert len({text, *(other for _, other in others)}) == 4

    def test_the_expression_stays(self, face: np.ndarray, landmarker: Landmarker):
        smile = BLENDSHAPES.index("mouthSmileLeft")
        for number in range(1, 6):
            copy, text = augmented(face, bytes(range(32)), number, 0)
            assert (copy.shape, copy.dtype) == (face.shape, np.uint8)
            assert ("flip" in text) == (number % 2 == 1)
            scores = landmarker.blendshapes(copy)
            assert scores is not None
            assert scores[smile] > 0.5
