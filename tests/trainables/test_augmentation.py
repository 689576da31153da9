"""What becomes of faces between the dataset and a net: flips, affine changes, brightness, erasing, mixing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fersweep.trainables.torch_training.augment import augmented, mixed, resized
from fersweep.trainables.torch_training.hparams import Augmentation

pytestmark = pytest.mark.slow

OFF = Augmentation(flip=False)


def faces(num: int) -> torch.Tensor:
    return torch.randn(num, 1, 48, 48)


def test_faces_are_only_flipped_where_only_that_is_asked() -> None:
    torch.manual_seed(0)
    before = faces(64)
    after = augmented(before, Augmentation(flip=True), 48)
    same = (after == before).flatten(1).all(dim=1)
    mirrored = (after == before.flip(-1)).flatten(1).all(dim=1)
    assert (same | mirrored).all()
    assert 16 < same.sum() < 48
    assert torch.equal(augmented(before, OFF, 48), before)
    assert torch.equal(augmented(before, OFF, 64), resized(before, 64))


@pytest.mark.parametrize("change", ["rotation", "zoom", "shift", "shear", "crop", "brightness", "contrast", "erasing"])
def test_each_change_differs_from_face_to_face(change: str) -> None:
    torch.manual_seed(0)
    before = faces(1).repeat(16, 1, 1, 1)
    strength = {"rotation": 20.0, "shear": 20.0, "erasing": 1.0}.get(change, 0.3)
    after = augmented(before, Augmentation(flip=False, **{change: strength}), 48)
    assert after.shape == before.shape
    assert len({face.numpy().tobytes() for face in after}) == 16
    assert (
        len({face.numpy().tobytes() for face in augmented(before, Augmentation(flip=False, **{change: 0.0}), 48)}) == 1
    )


def test_an_affine_change_moves_a_face_as_it_says() -> None:
    torch.manual_seed(0)
    spot = torch.zeros(200, 1, 48, 48)
    spot[..., 22:26, 22:26] = 1.0
    places = torch.arange(48.0) + 0.5

    def centers(h: Augmentation) -> torch.Tensor:
        after = augmented(spot, h, 48)
        mass = after.sum(dim=(1, 2, 3))
        return torch.stack([(after.sum(dim=(1, 3 - i)) * places).sum(dim=1) / mass for i in (0, 1)])

    for still in (Augmentation(rotation=30), Augmentation(zoom=0.3), Augmentation(shear=30)):
        assert (centers(still) - 24).abs().max() < 0.1
    moved = (centers(Augmentation(shift=0.25)) - 24).abs()
    assert 8 < moved.max() <= 12.1  # a quarter of 48 px
    grown = augmented(spot, Augmentation(crop=0.5, flip=False), 48).sum(dim=(1, 2, 3))
    assert grown.min() >= 0
    assert 16 <= grown.max() <= 16 * 4.2  # at most twice as wide and as high


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_faces_have_mixed_targets(kind: str) -> None:
    before = torch.stack([torch.full((1, 48, 48), float(i)) for i in range(4)])
    answers = torch.eye(4)
    after, wanted = mixed(before, answers, Augmentation(**{kind: 1.0}), np.random.default_rng(1))
    share = wanted[0, 0]
    assert 0 < share < 1
    torch.testing.assert_close(wanted.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(after.mean(dim=(1, 2, 3)), wanted @ torch.arange(4.0))
