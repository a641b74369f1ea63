"""The training recipe: everything that decides a training, as frozen dataclasses.

Owns the fields and their defaults. Ranges, presets and arms are rules.py; the way from YAML and flags to these is
core/layers.py and flags.py, as for the recipe of an augmentation.
"""

# ruff: noqa: RUF009 (`option` makes a field)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diffcore_hf.config.fields import option


@dataclass(frozen=True)
class DataConfig:
    """The augmented dataset."""

    path: str = option(
        help="A folder that augment or export wrote, a Hub id of one, or any image-classification dataset."
    )
    name: str | None = option(None, help="Configuration of the dataset; null: its default.")
    revision: str | None = option(
        None, help="Branch, tag or commit of a Hub dataset; resolved to a commit, which is recorded."
    )
    train: str = option("train", help="Split to train on.")
    validation: str | None = option(
        "auto", help="Split by which the best checkpoint is chosen; auto: validation or val, where there is one."
    )
    test: str | None = option(
        "auto", help="Split that is scored once, at the end; auto: test, else the validation split."
    )
    holdout: float = option(
        0.2,
        help=("Where the data has neither: the share of each class that is not trained on, but scored. A seeded draw."),
    )
    image: str | None = option(None, help="Column of the real images; null: as diffcore.json says, else image.")
    generated: str | None = option(
        None, help="Column of the generated images; null: as diffcore.json says, else generated."
    )
    label: str | None = option(None, help="Column of the labels; null: as diffcore.json says, else label.")
    group: str | None = option(
        None,
        help=(
            "Column by whose values the scored images are told apart (a context, a camera): accuracy is given"
            " for each too."
        ),
    )


@dataclass(frozen=True)
class BackboneConfig:
    """The network, any of timm's."""

    name: str = option(
        "resnet18", help="A name of timm (resnet50, vit_small_patch16_224, ...), preact_resnet18 or preact_resnet34."
    )
    pretrained: bool | str = option(
        True,
        help=(
            "true: the weights that timm names; false: from scratch; or a Hub id, folder or `package:` path of weights."
        ),
    )
    drop_path: float = option(0.0, help="Rate of stochastic depth, where the network has it.")
    stem_stride: Literal[1, 2] | None = option(
        None, help="preact_resnet: stride of the 3x3 stem; null: 1, for 32 pixels; 2 for 64."
    )
    channels_last: bool = option(True, help="Memory format of the convolutions; faster on nearly every device.")
    compile: bool = option(False, help="torch.compile.")


@dataclass(frozen=True)
class MixConfig:
    """How real and generated images meet (Eq. 6 to 8)."""

    mode: Literal["append", "replace", "off"] = option(
        "append",
        help=("append: originals clean, and a sample more per counterpart. replace: in its place. off: real only."),
    )
    kind: Literal["both", "pixel", "patch", "none"] = option(
        "none",
        help=(
            "none: the generated image as it is (GenAug). both: mixed, pixel- or patch-wise by eta ~ "
            "Bernoulli(pi); the paper's, and what arm mix takes."
        ),
    )
    partner: Literal["own", "class", "real_same_class"] = option(
        "own",
        help=(
            "own: the row's counterpart. class: any kept image of its class. real_same_class: another real one of it."
        ),
    )
    probability: float = option(1.0, help="replace: how often a row is replaced.")
    pi: float = option(0.5, help="Probability of pixel-wise mixing under kind both.")
    alpha: float = option(1.0, help="lambda ~ Beta(alpha, alpha); 1 is uniform on [0, 1].")


@dataclass(frozen=True)
class TransformConfig:
    """Geometry and classical augmentation, the same for both images."""

    preset: str = option(
        "finetune_224",
        help=(
            "The protocol: finetune_224, fgvc_scratch_224, cifar_preact_1200, tiny_preact_1200, "
            "imagenet_fast100, imagenet_300 or cars448_author."
        ),
    )
    size: int | None = option(
        None, help="Side of the training image in pixels; null: the preset's. Its resize changes in proportion."
    )
    randaugment: int | None = option(
        None, help="RandAugment: magnitude, 0 to 30 (two operations an image); null: none."
    )
    augmix: bool = option(False, help="AugMix (severity 3, width 3).")
    jitter: float | None = option(
        None, help="Colour jitter of brightness, contrast and saturation; null: the preset's."
    )
    blur: float = option(0.0, help="Probability of a Gaussian blur.")
    erasing: float = option(0.0, help="Probability of random erasing.")


@dataclass(frozen=True)
class MixerConfig:
    """Mixing across a batch, such as Mixup and CutMix. Mixing a row with its generated image is `mix`."""

    name: str | None = option(
        None, help="mixup, cutmix, or module:Class for a mixer of your own that is installed; null: none."
    )
    probability: float = option(1.0, help="How often an image (or, with per batch, a whole batch) is mixed.")
    per: Literal["image", "batch"] = option(
        "image",
        help=(
            "image: each image has its own draws, by its row id and epoch. batch: one draw for the batch, as in the "
            "papers."
        ),
    )
    options: dict[str, Any] | None = option(None, help="Parameters of the mixer, e.g. {alpha: 0.2}.")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser, any of timm's."""

    name: str = option("sgd", help="A name of timm: sgd (with Nesterov momentum), adamw, lamb, ...")
    lr: float = option(0.001, help="Learning rate.")
    head_lr: float | None = option(0.01, help="Learning rate of the classifier; null: as the rest.")
    momentum: float = option(0.9, help="Momentum of sgd, beta1 of the Adams.")
    weight_decay: float = option(0.0005, help="Weight decay.")
    decay_norms: bool = option(True, help="Weight decay on biases and norms too.")
    layer_decay: float | None = option(
        None, help="Factor of the learning rate from layer to layer down (ViTs); null: none."
    )


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time, in epochs of the recipe; it stretches with the number of steps."""

    name: Literal["cosine", "multistep", "linear", "constant"] = option(
        "cosine", help="Down to min_lr by a cosine or a line, or in steps at the milestones."
    )
    milestones: tuple[float, ...] = option(
        (), commas=True, help="multistep: epochs at which the rate is multiplied by decay."
    )
    decay: float = option(0.1, help="multistep: the factor.")
    warmup: float = option(0.0, help="Epochs of linear warm-up.")
    min_lr: float = option(0.0, help="Where cosine and linear end.")


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a training."""

    data: DataConfig = option(help="The dataset; a plain text is its path.")
    preset: Literal["paper"] | None = option(
        None,
        help=(
            "paper: mode append, partner own, pi 0.5, and the protocol of the paper's tables: "
            "fgvc_scratch_224, 300 epochs."
        ),
    )
    model: BackboneConfig = option(BackboneConfig(), help="The network; a plain text is its name.")
    mix: MixConfig = option(MixConfig(), help="How real and generated images meet.")
    transform: TransformConfig = option(
        TransformConfig(), help="Geometry and classical augmentation; a plain text is the preset."
    )
    mixer: MixerConfig = option(MixerConfig(), help="Mixing across a batch; a plain text is its name.")
    optimizer: OptimizerConfig = option(OptimizerConfig(), help="The optimiser; a plain text is its name.")
    schedule: ScheduleConfig = option(ScheduleConfig(), help="The learning rate over time; a plain text is its name.")
    epochs: float = option(30.0, help="Passes over the training samples of the first arm; all arms take as many steps.")
    max_steps: int | None = option(None, help="Optimiser steps, in place of epochs.")
    batch_size: int = option(32, help="Samples an optimiser step, over all processes and accumulated batches.")
    accumulate: int = option(1, help="Batches that a step is cut into, for want of memory.")
    clip: float | None = option(None, help="Norm to which gradients are clipped; null: not at all.")
    smoothing: float = option(0.0, help="Label smoothing.")
    loss: Literal["cross_entropy", "softmax_bce"] = option(
        "cross_entropy",
        help=("softmax_bce: binary cross-entropy of the softmax, as in the CIFAR protocol of the mixup literature."),
    )
    ema: float | None = option(
        None, help="Decay of the averaged weights, e.g. 0.999; they are what is evaluated. null: none."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", help="auto: bfloat16 on a card that has it, else float16 on a card, float32 on a CPU."
    )
    deterministic: bool = option(
        False, help=("On a GPU: deterministic kernels of cuDNN, without which a resumed run differs in the last bits.")
    )
    workers: int | None = option(
        None,
        help=("Loader processes for each training process; null: as many as help here, none with a cache in memory."),
    )
    cache: Literal["memory"] | None = option(
        None,
        help=(
            "memory: both images of every row decoded once, at training size; partners of a class are resized"
            " twice then."
        ),
    )
    evaluate_every: float = option(1.0, help="Epochs between validations; checkpoints are written as often.")
    seeds: tuple[int, ...] = option(
        (0,), commas=True, help="One training each; several give a mean and a standard deviation."
    )
    compare: tuple[str, ...] = option(
        (),
        commas=True,
        help=(
            "Arms to train, against the first: plain, genaug, pixel, patch, mix, randaugment, mixup, cutmix "
            "or your own."
        ),
    )
    arms: dict[str, dict[str, Any]] | None = option(
        None, help="Your own arms: name -> keys of this recipe that differ."
    )
    trackers: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = option(
        (), commas=True, help="Where to log besides log.jsonl."
    )
    push: str | None = option(
        None, help="Hub id to which the model of the first seed goes (of the last arm, where some are compared)."
    )
    output: str | None = option(None, help="The output folder. Default: out/train/<last part of data.path>.")
    device: Literal["auto", "cpu"] = option("auto", help="auto: what accelerate finds.")
