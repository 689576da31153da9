"""A net of three channels with a frozen backbone, batch normalisation, dropout, a counter, tied weights and `view`."""

import torch
from torch import nn

CHANNELS = 3
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HPARAMS = {"width": 6, "optimizer": "adamw"}


def space(trial):
    hparams = {
        "width": trial.suggest_int("width", 4, 8),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "kind": trial.suggest_categorical("kind", ["plain", "dropout"]),
    }
    if hparams["kind"] == "dropout":
        hparams["rate"] = trial.suggest_float("rate", 0.1, 0.5)
    return hparams


class Net(nn.Module):
    def __init__(self, hparams, num_classes):
        super().__init__()
        width = hparams["width"]
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.backbone.requires_grad_(False).eval()
        self.features = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1, groups=width), nn.LazyBatchNorm2d(), nn.GELU(), nn.AdaptiveAvgPool2d(4)
        )
        self.dropout = nn.Dropout(hparams["rate"] if hparams["kind"] == "dropout" else 0.0)
        self.hidden = nn.Linear(width * 16, width * 16, bias=False)
        self.again = nn.Linear(width * 16, width * 16)
        self.again.weight = self.hidden.weight
        self.head = nn.Linear(width * 16, num_classes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if self.training:
            self.steps += 1
        x = self.features(self.backbone(x)).view(x.size(0), -1)
        return self.head(self.dropout(self.again(self.hidden(x)).relu()))


def net(hparams, image_size, num_classes, pretrained):
    return Net(hparams, num_classes)
