"""The recipe of a training as frozen dataclasses: all settings that determine the result.

Owns the fields with their defaults and help texts. Ranges, presets, arms and the rules between fields are in
train_schema.py.
"""

# ruff: noqa: RUF009 (`option` returns a field)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diffcore_hf.config.fields import option


@dataclass(frozen=True)
class DataConfig:
    """The augmented dataset."""

    path: str = option(
        help="A folder that augment or export wrote, a Hub id, or any other image-classification dataset."
    )
    name: str | None = option(None, help="Configuration of the dataset. null: the default.")
    revision: str | None = option(None, help="Branch, tag or commit of a Hub dataset. The commit is recorded.")
    train: str = option("train", help="Split to train on.")
    validation: str | None = option(
        "auto", help="Split that selects the best checkpoint. auto: validation or val, if the dataset has one."
    )
    test: str | None = option(
        "auto", help="Split that is scored once, at the end. auto: test if it exists, else the validation split."
    )
    holdout: float = option(
        0.2,
        help=(
            "Share of each class, drawn by the seed, that is used for scoring and not for training. It applies if the "
            "dataset has neither a validation nor a test split."
        ),
    )
    image: str | None = option(None, help="Column of the real images. null: the name in diffcore.json, else image.")
    generated: str | None = option(
        None, help="Column of the generated images. null: the name in diffcore.json, else generated."
    )
    label: str | None = option(None, help="Column of the labels. null: the name in diffcore.json, else label.")
    group: str | None = option(
        None,
        help=(
            "Column that divides the scored images into groups, such as a context or a camera. The accuracy of each "
            "group is reported."
        ),
    )


@dataclass(frozen=True)
class BackboneConfig:
    """The network: any model of timm."""

    name: str = option(
        "resnet18",
        help="A model name of timm (resnet50, vit_small_patch16_224, ...), preact_resnet18 or preact_resnet34.",
    )
    pretrained: bool | str = option(
        True,
        help=(
            "true: the default weights of timm. false: random weights. Or a Hub id, folder or `package:` path of "
            "weights."
        ),
    )
    drop_path: float = option(0.0, help="Rate of stochastic depth, for networks that support it.")
    stem_stride: Literal[1, 2] | None = option(
        None, help="preact_resnet: stride of the 3x3 stem; 1 suits 32 pixels, 2 suits 64. null: 1."
    )
    channels_last: bool = option(True, help="Store images with the channels last; faster on most devices.")
    compile: bool = option(False, help="Compile the network with torch.compile.")


@dataclass(frozen=True)
class MixConfig:
    """Mixing of a real image with a generated image (Eq. 6 to 8)."""

    mode: Literal["append", "replace", "off"] = option(
        "append",
        help=(
            "append: unchanged originals, and one additional sample per counterpart. replace: the sample replaces "
            "its original. off: originals only."
        ),
    )
    kind: Literal["both", "pixel", "patch", "none"] = option(
        "none",
        help=(
            "none: the generated image, not mixed (GenAug). pixel, patch: pixel-wise or patch-wise mixing. both: "
            "pixel-wise with probability pi, else patch-wise, as in the paper and in arm mix."
        ),
    )
    partner: Literal["own", "own_copies", "class", "any", "real_same_class"] = option(
        "own",
        help=(
            "own: the counterpart of the row. own_copies: one of all counterparts of the row. class: any generated "
            "image that shows the row's class. any: any generated image of the dataset, with its own label. "
            "real_same_class: another real image of the class."
        ),
    )
    probability: float = option(1.0, help="For mode replace: probability that a row is replaced.")
    pi: float = option(0.5, help="For kind both: probability of pixel-wise mixing.")
    alpha: float = option(1.0, help="Parameter of the Beta distribution of the mixing weight. 1: uniform on [0, 1].")


@dataclass(frozen=True)
class TransformConfig:
    """Geometry and classical augmentation, which are the same for the real and the generated image of a row."""

    preset: str = option(
        "finetune_224",
        help=(
            "The transform protocol: finetune_224, fgvc_scratch_224, cifar_preact_1200, tiny_preact_1200, "
            "imagenet_fast100, imagenet_300 or cars448_author."
        ),
    )
    size: int | None = option(
        None,
        help="Side of the training image in pixels. The resize before the crop is scaled too. null: as in the preset.",
    )
    randaugment: int | None = option(
        None, help="Magnitude of RandAugment, 0 to 30, with two operations per image. null: none."
    )
    augmix: bool = option(False, help="Apply AugMix (severity 3, width 3).")
    jitter: float | None = option(
        None, help="Colour jitter of brightness, contrast and saturation. null: the value of the preset."
    )
    blur: float = option(0.0, help="Probability of a Gaussian blur.")
    erasing: float = option(0.0, help="Probability of random erasing.")


@dataclass(frozen=True)
class MixerConfig:
    """Mixing within a batch, such as Mixup and CutMix. The section `mix` mixes a row with its generated image."""

    name: str | None = option(
        None,
        help=(
            "mixup, cutmix, manifold_mixup, augmix, pixmix, resizemix, smoothmix, snapmix, saliencymix, "
            "attentive_cutmix, guidedmixup_sr, guidedmixup_ap, puzzlemix, comixup, transmix, automix, samix "
            "(docs/training.md), or module:Class for a mixer of your own. It is a setting of all arms. null: none."
        ),
    )
    preset: str | None = option(
        None,
        help="Hyper-parameters of the papers for a dataset, e.g. cub or cifar (docs/training.md). null: the defaults.",
    )
    probability: float | None = option(
        None,
        help=(
            "Probability that an image is mixed. If per is batch: probability that a batch is mixed. null: the value "
            "of the preset, else 1."
        ),
    )
    per: Literal["image", "batch"] = option(
        "image",
        help=(
            "image: one random draw per image, from its row id and epoch. batch: one draw for the batch, as in the "
            "papers."
        ),
    )
    partner: Literal["batch", "own"] = option(
        "batch",
        help=(
            "batch: the images of a batch are mixed with each other. own: each image is mixed with its row's own "
            "generated image; only mixers of two images support this."
        ),
    )
    options: dict[str, Any] | None = option(None, help="Parameters of the mixer, e.g. {alpha: 0.2}.")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser: any optimiser of timm."""

    name: str = option("sgd", help="An optimiser name of timm: sgd (with Nesterov momentum), adamw, lamb, ...")
    lr: float = option(0.001, help="Learning rate.")
    head_lr: float | None = option(0.01, help="Learning rate of the classifier. null: the same as lr.")
    momentum: float = option(0.9, help="Momentum of sgd; beta1 of Adam and its variants.")
    weight_decay: float = option(0.0005, help="Weight decay.")
    decay_norms: bool = option(True, help="Apply weight decay to biases and norm layers too.")
    layer_decay: float | None = option(
        None, help="Factor by which the learning rate falls from each layer to the layer below, for ViTs. null: none."
    )


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time, in epochs of the recipe. It is scaled to the actual number of steps."""

    name: Literal["cosine", "multistep", "linear", "constant"] = option(
        "cosine",
        help="cosine, linear: falls to min_lr. multistep: multiplied by decay at each milestone. constant: no change.",
    )
    milestones: tuple[float, ...] = option(
        (), commas=True, help="multistep: epochs at which the learning rate is multiplied by decay."
    )
    decay: float = option(0.1, help="multistep: factor at each milestone.")
    warmup: float = option(0.0, help="Epochs of linear warm-up.")
    min_lr: float = option(0.0, help="cosine, linear: learning rate at the end.")


@dataclass(frozen=True)
class TrainRecipe:
    """All settings that determine the result of a training."""

    data: DataConfig = option(help="The dataset; a plain text is its path.")
    preset: Literal["paper"] | None = option(
        None,
        help=(
            "paper: mode append, partner own, pi 0.5, and the protocol of the paper's tables: "
            "fgvc_scratch_224, 300 epochs."
        ),
    )
    model: BackboneConfig = option(BackboneConfig(), help="The network; a plain text is its name.")
    mix: MixConfig = option(MixConfig(), help="Mixing of a real image with a generated image.")
    transform: TransformConfig = option(
        TransformConfig(), help="Geometry and classical augmentation; a plain text is the preset."
    )
    mixer: MixerConfig = option(MixerConfig(), help="Mixing within a batch; a plain text is the name of the mixer.")
    optimizer: OptimizerConfig = option(OptimizerConfig(), help="The optimiser; a plain text is its name.")
    schedule: ScheduleConfig = option(ScheduleConfig(), help="The learning rate over time; a plain text is its name.")
    epochs: float = option(30.0, help="Epochs of the first arm; all arms take the same number of steps.")
    max_steps: int | None = option(None, help="Number of optimiser steps. It replaces epochs.")
    batch_size: int = option(32, help="Samples per optimiser step, over all processes and accumulated batches.")
    accumulate: int = option(1, help="Number of batches into which a step is divided, to save memory.")
    clip: float | None = option(None, help="Norm to which gradients are clipped. null: no clipping.")
    smoothing: float = option(0.0, help="Label smoothing.")
    loss: Literal["cross_entropy", "softmax_bce"] = option(
        "cross_entropy",
        help=("softmax_bce: binary cross-entropy of the softmax, as in the CIFAR protocol of the mixup literature."),
    )
    ema: float | None = option(
        None, help="Decay of the EMA of the weights, e.g. 0.999. The EMA is evaluated. null: no EMA."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", help="Precision. auto: bfloat16 on a GPU that supports it, else float16; float32 on a CPU."
    )
    deterministic: bool = option(
        False,
        help="Use deterministic cuDNN kernels on a GPU. With other kernels a resumed run differs in the last bits.",
    )
    workers: int | None = option(
        None,
        help="Loader processes per training process. null: chosen for this machine, or 0 if cache is memory.",
    )
    cache: Literal["memory"] | None = option(
        None,
        help=(
            "memory: both images of every row are decoded once and kept at training size. If partner is class or "
            "real_same_class, an image is resized twice, so its pixels differ slightly from those with null."
        ),
    )
    evaluate_every: float = option(
        1.0, help="Epochs between two validations. A checkpoint is written after each validation."
    )
    seeds: tuple[int, ...] = option(
        (0,), commas=True, help="One training per seed. Several seeds give a mean and a standard deviation."
    )
    compare: tuple[str, ...] = option(
        (),
        commas=True,
        help=(
            "Arms to train and compare with the first of them: plain, genaug, pixel, patch, mix, randaugment, the name "
            "of a mixer (see mixer.name), or your own."
        ),
    )
    arms: dict[str, dict[str, Any]] | None = option(
        None,
        help=("Your own arms: a map from names to the keys of this recipe that differ, e.g. {big: {model: resnet50}}."),
    )
    trackers: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = option(
        (), commas=True, help="Experiment trackers to log to, in addition to log.jsonl."
    )
    push: str | None = option(
        None,
        help="Hub id for the trained model. Of several models, the one of the last arm with the first seed is pushed.",
    )
    output: str | None = option(None, help="The output folder. Default: out/train/<last part of data.path>.")
    device: Literal["auto", "cpu"] = option("auto", help="auto: the device that accelerate selects.")
