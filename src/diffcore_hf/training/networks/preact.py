"""PreActResNet-18 and -34 for small images, in the form that papers on mixup use.

Owns the two networks and their names in timm's registry. Importing this module is enough for
`timm.create_model("preact_resnet18")`, for `local-dir:` folders and for timm's tools. There are no pretrained weights.

They differ from timm's pre-activation ResNets with basic blocks (`resnetv2_18`, `resnetv2_34`) in two points. The stem
is one 3x3 convolution without pooling, so an image of 32 pixels still has 32 pixels at the first block. There is no
norm and no activation between the last block and the pooling. Weights are initialised as in timm (He et al. 2015,
fan-out).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from timm.layers.create_conv2d import create_conv2d
from timm.layers.norm_act import BatchNormAct2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnetv2 import ResNetV2
from torch import nn

STEM_CHANNELS = 64
CHANNELS = (64, 128, 256, 512)
NAMES = ("preact_resnet18", "preact_resnet34")
"""Names that this module registers with timm."""

# Mean and standard deviation of CIFAR. The folder of a trained model has the values of its own training.
_PRETRAINED_CFG = {
    "input_size": (3, 32, 32),
    "fixed_input_size": False,
    "pool_size": (4, 4),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "num_classes": 100,
    "first_conv": "stem.conv",
    "classifier": "head.fc",
}
default_cfgs = generate_default_cfgs({name: dict(_PRETRAINED_CFG) for name in NAMES})


class PreActResNet(ResNetV2):
    """Pre-activation ResNet of basic blocks (He et al. 2016) with a plain 3x3 stem and no norm before the pooling.

    (B, 3, H, W) float -> (B, num_classes). H and W are at least 8 * stem_stride, preferably multiples of it.

    Args:
        layers: number of blocks in each of the four stages.
        stem_stride: 1 for images of 32 pixels, 2 for 64.
        in_chans: number of channels of the image.
        arguments: other arguments of ResNetV2 (num_classes, drop_path_rate, global_pool, ...).
    """

    def __init__(self, layers: tuple[int, ...], stem_stride: int = 1, in_chans: int = 3, **arguments: Any):
        super().__init__(
            layers=list(layers),
            channels=CHANNELS,
            in_chans=in_chans,
            stem_chs=STEM_CHANNELS,
            basic=True,
            bottle_ratio=1.0,
            conv_layer=create_conv2d,
            norm_layer=BatchNormAct2d,
            **arguments,
        )
        conv = create_conv2d(in_chans, STEM_CHANNELS, 3, stride=stem_stride)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as for all other convolutions
        self.stem = nn.Sequential(OrderedDict(conv=conv))
        self.norm = nn.Identity()
        for info, stride in zip(self.feature_info, (1, 1, 2, 4, 8), strict=True):
            info["reduction"] = stride * stem_stride


@register_model
def preact_resnet18(pretrained: bool = False, **kwargs: Any) -> PreActResNet:
    """Build PreActResNet-18 (11.2 million parameters with 100 classes); `stem_stride` is 1 or 2."""
    return _create("preact_resnet18", pretrained, layers=(2, 2, 2, 2), **kwargs)


@register_model
def preact_resnet34(pretrained: bool = False, **kwargs: Any) -> PreActResNet:
    """Build PreActResNet-34 (21.3 million parameters with 102 classes); `stem_stride` is 1 or 2."""
    return _create("preact_resnet34", pretrained, layers=(3, 4, 6, 3), **kwargs)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> PreActResNet:
    return build_model_with_cfg(PreActResNet, variant, pretrained, feature_cfg={"flatten_sequential": True}, **kwargs)
