"""A transformer over features, one token each."""

import torch
from torch import nn


def space(trial):
    return {
        "width": trial.suggest_int("width", 4, 16, step=4),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }


class Net(nn.Module):
    def __init__(self, width, num_features, num_classes):
        super().__init__()
        self.place = nn.Parameter(torch.randn(num_features, width) * 0.1)
        self.embed = nn.Linear(1, width)
        self.mix = nn.TransformerEncoderLayer(width, 2, width, dropout=0.1, batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.mix(self.embed(x[..., None]) + self.place).mean(dim=1))


def net(hparams, num_features, num_classes, feature_names):
    assert len(feature_names) == num_features
    return Net(hparams["width"], num_features, num_classes)
