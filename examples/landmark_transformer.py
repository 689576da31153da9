"""A transformer over landmarks, in PyTorch: each point of the face is a token.

    fersweep launch examples/landmark_transformer.yaml --data runs/data/fer2013

The dataset must have landmarks (`fersweep prepare … --landmarks`).
"""

import torch
from torch import nn


def space(trial):
    heads = trial.suggest_categorical("heads", [2, 4])
    return {
        "heads": heads,
        "width": heads * trial.suggest_int("width_of_a_head", 8, 24, step=4),
        "depth": trial.suggest_int("depth", 1, 3),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
    }


class LandmarkTransformer(nn.Module):
    def __init__(self, num_points, num_classes, width, heads, depth, dropout):
        super().__init__()
        self.embed, self.place = nn.Linear(2, width), nn.Parameter(torch.randn(num_points, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_classes))

    def forward(self, x):
        """(B, 2 · points), x and y of a point beside each other → (B, num_classes) logits."""
        tokens = self.embed(x.unflatten(1, (-1, 2))) + self.place
        return self.head(self.encoder(tokens).mean(dim=1))


def net(hparams, num_features, num_classes):
    sizes = {name: hparams[name] for name in ("width", "heads", "depth", "dropout")}
    return LandmarkTransformer(num_features // 2, num_classes, **sizes)
