"""Augmentation of a batch of faces on the device: one affine resampling that also resizes, then gray levels, then erasing.

Everything is drawn for each face, vectorised, by torch's generator of the device, so a seeded epoch can be repeated. Only
train faces are augmented. Shapes: B faces, S the side that the net wants, C classes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fersweep.trainables.torch_training.hparams import Augmentation

ERASED = (0.02, 0.25)  # share of the area; width / height is 0.3 to 3.3 (random erasing, Zhong et al. 2020)


def resized(faces: Tensor, size: int) -> Tensor:
    """(B, 1, H, W) → (B, 1, size, size), bilinear, antialiased where it shrinks."""
    if faces.shape[-2:] == (size, size):
        return faces
    shrinks = size < min(faces.shape[-2:])
    return F.interpolate(faces, (size, size), mode="bilinear", align_corners=False, antialias=shrinks)


def augmented(faces: Tensor, h: Augmentation, size: int) -> Tensor:
    """(B, 1, H, W) float32 faces normalised to mean 0 → (B, 1, size, size) after `h`'s random changes."""
    if h.rotation or h.zoom or h.shift or h.shear or h.crop:
        grid = F.affine_grid(_affine(len(faces), h, faces.device), [len(faces), 1, size, size], align_corners=False)
        faces = F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
    else:
        faces = resized(faces, size)
        if h.flip:
            mirrored = torch.rand(len(faces), 1, 1, 1, device=faces.device) < 0.5
            faces = torch.where(mirrored, faces.flip(-1), faces)
    if h.brightness or h.contrast:
        contrast = 1 + _to_either_side(h.contrast, (len(faces), 1, 1, 1), faces.device)
        # The normalised gray range is about four deviations wide.
        faces = faces * contrast + 4 * _to_either_side(h.brightness, (len(faces), 1, 1, 1), faces.device)
    return _erased(faces, h.erasing) if h.erasing else faces


def _to_either_side(width: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return (torch.rand(shape, device=device) * 2 - 1) * width


def _affine(num: int, h: Augmentation, device: torch.device) -> Tensor:
    """(num, 2, 3) maps from output to input coordinates, both in [-1, 1]."""
    angle, shear = (_to_either_side(math.radians(x), (num,), device) for x in (h.rotation, h.shear))
    visible = 1 - h.crop * torch.rand(num, device=device)
    scale = visible / (1 + _to_either_side(h.zoom, (num,), device))
    mirror = torch.where(torch.rand(num, device=device) < 0.5, -1.0, 1.0) if h.flip else torch.ones(num, device=device)
    shift = _to_either_side(2 * h.shift, (2, num), device) + _to_either_side(1.0, (2, num), device) * (1 - visible)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [
        torch.stack([mirror * cos, cos * shear.tan() - sin, shift[0]], dim=1),
        torch.stack([mirror * sin, sin * shear.tan() + cos, shift[1]], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _erased(faces: Tensor, probability: float) -> Tensor:
    """Each face with `probability` gets a rectangle of 0, the mean gray."""
    num, size, device = len(faces), faces.shape[-1], faces.device
    area = ERASED[0] + (ERASED[1] - ERASED[0]) * torch.rand(num, 1, device=device)
    ratio = torch.exp(_to_either_side(math.log(3.3), (num, 1), device))
    half = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()]).clamp(max=1.0) * size / 2
    center = torch.rand(2, num, 1, device=device) * size
    inside = (torch.arange(size, device=device) + 0.5 - center).abs() < half  # (2, num, size)
    hit = torch.rand(num, 1, 1, 1, device=device) < probability
    return faces.masked_fill(hit & (inside[0][:, None, :, None] & inside[1][:, None, None, :]), 0.0)


def mixed(faces: Tensor, targets: Tensor, h: Augmentation, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch with itself in another order.

    Args:
        faces: (B, 1, S, S); targets: (B, C), rows summing to 1. `rng` draws, on the host, what is the same for the whole batch.
    """
    if not (h.mixup or h.cutmix):
        return faces, targets
    use_cutmix = h.cutmix and (not h.mixup or rng.random() < 0.5)
    alpha = h.cutmix if use_cutmix else h.mixup
    share = float(rng.beta(alpha, alpha))
    if not use_cutmix:
        weight = torch.full((), share, device=faces.device)
        return torch.lerp(faces.flip(0), faces, weight), torch.lerp(targets.flip(0), targets, weight)
    size = faces.shape[-1]
    side = int(size * math.sqrt(1 - share))
    top, left = (int(x) for x in rng.integers(0, size - side + 1, 2))
    faces = faces.clone()
    faces[..., top : top + side, left : left + side] = faces.flip(0)[..., top : top + side, left : left + side]
    return faces, torch.lerp(targets.flip(0), targets, 1 - (side / size) ** 2)
