"""A backbone of timm's that is mostly frozen, with low-rank adapters in what is not (LoRA, Hu et al. 2021, arXiv:2106.09685).

    fersweep launch examples/timm_frozen.yaml --data runs/data/fer2013

The backbone's weights are downloaded when the net is first built. `space: {fix: {weights: none}}` begins with random ones.
"""

import timm
from torch import nn

CHANNELS, MEAN, STD = 3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # what its weights were trained with
HPARAMS = {"backbone": "resnet18", "weights": "imagenet", "image_size": 64}


def space(trial):
    return {
        "rank": trial.suggest_int("rank", 2, 16, log=True),
        "num_open": trial.suggest_int("num_open", 0, 2),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }


class LowRank(nn.Module):
    """A frozen convolution, and beside it one of a low rank that learns; at first it adds nothing."""

    def __init__(self, frozen, rank):
        super().__init__()
        self.frozen = frozen
        self.down = nn.Conv2d(frozen.in_channels, rank, frozen.kernel_size, frozen.stride, frozen.padding, bias=False)
        self.up = nn.Conv2d(rank, frozen.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.frozen(x) + self.up(self.down(x))


def net(hparams, image_size, num_classes, pretrained):
    """(B, 3, S, S) → (B, num_classes) logits. The head, the adapters and the last `num_open` stages learn."""
    has_weights = pretrained and hparams["weights"] == "imagenet"
    backbone = timm.create_model(hparams["backbone"], pretrained=has_weights, num_classes=num_classes)
    stages = [backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4]
    learned = [backbone.get_classifier(), *stages[len(stages) - hparams["num_open"] :]]
    backbone.requires_grad_(False)
    for part in learned:
        part.requires_grad_(True)
    for block in stages[-1]:
        block.conv2 = LowRank(block.conv2, hparams["rank"])
    return backbone
