"""The recipe of an augmentation as frozen dataclasses: all settings that determine the result.

Owns the fields with their defaults, help texts and scopes (fields.py explains the scopes). Section `filter.policy` is
in policy.py. Ranges, presets and the rules between fields are in augment_schema.py, the digests in digests.py. Imports
neither datasets nor torch.
"""

# ruff: noqa: RUF009 (attempt, decision and free return fields)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diffcore_hf.config.fields import attempt, decision, free
from diffcore_hf.config.policy import PolicyConfig

Layout = Literal["auto", "class_folders", "split_folders", "class_split_folders", "table", "files"]
"""How the files of a local folder are read."""


@dataclass(frozen=True)
class SourceConfig:
    """The image-classification dataset to augment."""

    path: str = attempt(
        help=(
            "A Hub id, a folder of images with one sub-folder per class, a zip or tar file of such a folder, or a "
            "folder of Parquet files."
        )
    )
    name: str | None = attempt(None, help="Configuration of the dataset, if it has several.")
    data_files: str | None = attempt(None, help="Pattern of the files to read inside `path`.")
    revision: str | None = attempt(None, help="Branch, tag or commit of a Hub dataset. The commit is recorded.")
    layout: Layout = free(
        "auto",
        help=(
            "How the folders of a local source are read. class_folders: CLASS/photo. split_folders: "
            "SPLIT/CLASS/photo. class_split_folders: CLASS/SPLIT/photo. table: a table of photos. files: data files, "
            "as `datasets` reads them. auto: recognised from the files."
        ),
    )
    table: str | None = free(
        None,
        help=(
            "Table with the file names and classes of photos in a local source: CSV, TSV, JSON lines or Parquet. Its "
            "columns are recognised from the values; source.image and source.label name them."
        ),
    )
    follow_links: Literal["inside", "outside"] = free(
        "inside",
        help=(
            "Which links in a local folder are read. inside: links to files inside the folder. outside: also links "
            "that lead out of it. Use outside only for a folder that you made."
        ),
    )
    root: str | None = free(
        None,
        help=(
            "Folder of the image files whose paths are in a dataset in memory, or in a data file (such as Parquet) of "
            "a local folder. null: only images stored in the dataset or below source.path are read."
        ),
    )
    grey_range: Literal["dtype", "data"] = attempt(
        "dtype",
        help=(
            "How grey images of 16 or 32 bits become 8 bits. dtype: the range of the type becomes black to white. "
            "data: the smallest and largest value of each image become black and white. Use data for 12 bits in a "
            "16-bit file."
        ),
    )
    split: str = attempt("train", help="Split whose rows get counterparts. The other splits are copied unchanged.")
    image: str = attempt("image", help="Column of the images.")
    label: str = attempt("label", help="Column of the labels: ClassLabel, string or integer.")
    label_names: Literal["clean", "raw"] | dict[str, str] = attempt(
        "clean",
        help=(
            "Names of the classes in prompts. clean: without numbering and underscores. raw: unchanged. Or a map "
            "from class names to prompt names."
        ),
    )
    holdout: float = attempt(
        0.0,
        help=(
            "Expected share of each class, in [0, 1), that is drawn by the seed and exported as split validation. "
            "These rows get no counterparts and are not references."
        ),
    )


@dataclass(frozen=True)
class CaptionerConfig:
    """The model that describes real images, for contexts from captions."""

    path: str = attempt(help="Hub id or folder of an image captioner that transformers loads, such as BLIP or GIT.")
    revision: str | None = attempt(None, help="Branch, tag or commit on the Hub. The commit is recorded.")
    images: int = attempt(200, help="Largest number of real images that are described.")
    tokens: int = attempt(30, help="Largest number of tokens of a caption.")


@dataclass(frozen=True)
class PromptsConfig:
    """The prompt and the negative prompt of Eq. 4."""

    template: str = attempt(
        "caption",
        help="`caption`, `paper`, or a text with {label}, {kind}, {context} and any text column of the source.",
    )
    contexts: tuple[str, ...] | None = attempt(
        None,
        help=(
            "Contexts of the counterparts. Each row draws one context by the seed; its other copies use the contexts "
            'that follow. "" adds no context. null: the contexts of the kind.'
        ),
    )
    contexts_from: str | None = attempt(
        None,
        help=(
            "File with one context per line, or `module:NAME` of a function that returns contexts. They replace "
            '`contexts`. A line "" adds no context. captions: the contexts are made once from captions of real images '
            "by `captioner`, without the words of the classes."
        ),
    )
    captioner: CaptionerConfig | None = attempt(
        None, help="Model that describes real images for `contexts_from: captions`; a plain text is its path."
    )
    negatives: tuple[str, ...] | None = attempt(
        None, help="Terms of the negative prompt. []: no negative prompt. null: the terms of the kind."
    )
    label_descriptions: dict[str, str] | None = attempt(
        None, help="Descriptions that replace ambiguous class names in prompts: a map from class names to texts."
    )


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA adapter on top of the model."""

    path: str = attempt(help="Repo id, folder or safetensors file.")
    weight_name: str | None = attempt(None, help="Name of the weight file, if `path` has several.")
    revision: str | None = attempt(None, help="Branch, tag or commit of a repo id.")
    scale: float = attempt(1.0, help="Weight of the adapter; 1.0 is its full effect.")


@dataclass(frozen=True)
class SchedulerConfig:
    """A noise scheduler that replaces the scheduler of the model."""

    name: str = attempt(help="Class name in diffusers, for example DPMSolverMultistepScheduler.")
    options: dict[str, Any] | None = attempt(
        None, help="Options that override the scheduler configuration of the model."
    )


@dataclass(frozen=True)
class ModelConfig:
    """The text-to-image model and its settings."""

    path: str = attempt(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        help="Hub id, local folder, safetensors file, or `package:<module>/<folder>` for package data.",
    )
    revision: str | None = attempt(None, help="Branch, tag or commit on the Hub. The commit is recorded.")
    variant: str | None = attempt(
        "auto",
        help=(
            "Variant of the weight files, such as fp16. auto: fp16 if dtype is float16 and the repository has it, "
            "else no variant."
        ),
    )
    family_preset: Literal["cosxl"] | None = attempt(
        None,
        help=(
            "Model family of a single weight file that does not state its family. cosxl: weights for non-commercial "
            "research only."
        ),
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = attempt(
        "auto", help="Precision. auto: bfloat16 on a GPU that supports it, else float16; float32 on a CPU."
    )
    scheduler: SchedulerConfig | None = attempt(
        None, help="Noise scheduler; a plain text is its class name. null: the scheduler of the model."
    )
    adapters: tuple[AdapterConfig, ...] = attempt((), help="LoRA adapters, added in order; a plain text is a path.")
    steps: int = attempt(30, help="Denoising steps (num_inference_steps).")
    gamma: float = attempt(
        2.0, help="Strength of the context guidance of Eq. 4; guidance_scale = 1 + gamma for SD and SDXL."
    )
    guidance: Literal["eq4", "native"] = attempt(
        "eq4",
        help=(
            "eq4: guidance of Eq. 4, for the model families that support it. native: the guidance of the pipeline "
            "itself, for any other family; gamma is passed as its guidance_scale."
        ),
    )
    size: int | None = attempt(None, help="Side of the generated square image in pixels. null: the size of the model.")
    attention: Literal["auto", "native", "slicing"] = attempt(
        "auto", help="auto, native: scaled_dot_product_attention of PyTorch. slicing: less memory, slower."
    )
    offload: Literal["auto", "none", "model", "sequential"] = free(
        "auto", help="Move idle parts of the model to the CPU. auto: only if the GPU is too small for the model."
    )
    vae_slicing: Literal["auto", "on", "off"] = free(
        "auto", help="Decode the images of a batch one by one. auto: on if the GPU has less than 12 GB."
    )
    device: str = free("auto", help="Device of the models. auto: cuda, else mps, else cpu.")


@dataclass(frozen=True)
class StrategyConfig:
    """The strategy: how an image is generated from the columns of its unit."""

    name: str = attempt(
        "text_to_image",
        help=(
            "text_to_image, image_to_image, inter_class, edit, learned_tokens, structure, or `module:Class` of an "
            "installed module, a subclass of diffcore_hf.generation.base.Strategy."
        ),
    )
    targets: Literal["own", "other", "any"] | None = attempt(
        None,
        help=(
            "The class that an image has to show. own: the class of its row. other: another class, drawn by the seed. "
            "any: like other, but the row's own class may be drawn too. null: the default of the strategy."
        ),
    )
    gamma_label: float = decision(
        1.0,
        help=(
            "Exponent of the strength in the label of an image that shows a drawn class: this class has the weight "
            "strength ** gamma_label, and the class of the row has the rest."
        ),
    )
    options: dict[str, Any] | None = attempt(None, help="Parameters of the strategy.")


@dataclass(frozen=True)
class FilterConfig:
    """The image tower that scores images, and the policy that decides which are kept."""

    path: str = attempt(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        help=(
            "Hub id, local folder or `package:` path of any image tower that transformers loads (CLIP, SigLIP, DINOv2)."
        ),
    )
    revision: str | None = attempt(None, help="Branch, tag or commit on the Hub. The commit is recorded.")
    policy: PolicyConfig = decision(PolicyConfig(), help="The policy; a plain text is its name.")
    references: int = decision(
        200, help="Real images per class, drawn by the seed, from which statistics and thresholds are computed."
    )
    checks: tuple[str, ...] = decision(
        (), help="Your own checks, each named module:NAME; they run after the built-in ones."
    )
    compare: tuple[str, ...] = decision(
        (),
        help=(
            "Reject images that show the picture of another image, even if cropped, mirrored, recoloured or scaled: "
            "`leak` (of another split), `memorised` (of the augmented rows), `copy` (an earlier counterpart of the "
            "class)."
        ),
    )


@dataclass(frozen=True)
class SelectConfig:
    """The rows that get counterparts, and how many each gets. `fraction` then takes the first of these rows."""

    classes: tuple[str, ...] | None = decision(
        None, help="Classes whose rows get counterparts, by their names in the source or in prompts. null: all classes."
    )
    rows: str | None = decision(
        None,
        help="File with the ids of the rows that get counterparts: one per line, or CSV with a column row_id.",
    )
    per_class: int | None = decision(
        None,
        help=(
            "Number of counterparts per class. A class with fewer rows gets several copies of its rows. null: `copies` "
            "of every row."
        ),
    )
    hardest: str | None = decision(
        None, help="Column of numbers, such as a loss: the rows of a class with the highest values are drawn first."
    )


@dataclass(frozen=True)
class ColumnsConfig:
    """Names of the added columns."""

    prefix: str = free(
        "", help="Prefix of the name of every added column. Use it if the source has a column of this name."
    )


@dataclass(frozen=True)
class Recipe:
    """All settings that determine the result of an augmentation."""

    source: SourceConfig = attempt(help="The dataset; a plain text is its path.")
    preset: Literal["paper", "real-guidance", "diff-mix", "diffusemix", "da-fusion"] | None = free(
        None,
        help=(
            "paper: policy mean, the paper's template with contexts for it, gamma 6.5, size 512, 50 steps. "
            "real-guidance: image_to_image with strength 0.15 and policy text_softmax. diff-mix: inter_class with "
            "strength 0.7, and 5 copies. diffusemix: edit with nine styles. da-fusion: learned_tokens, one class at a "
            "time, with four strengths."
        ),
    )
    kind: str = attempt(
        "general",
        help=(
            "Kind of object, which sets the default contexts and negative terms: bird, car, flower, aircraft, "
            "clothing, food, general, ..."
        ),
    )
    prompts: PromptsConfig = attempt(PromptsConfig(), help="The prompts.")
    model: ModelConfig = attempt(ModelConfig(), help="The text-to-image model; a plain text is its path.")
    strategy: StrategyConfig = attempt(
        StrategyConfig(), help="How an image is generated; a plain text is the name of the strategy."
    )
    filter: FilterConfig = attempt(
        FilterConfig(), help="The image tower and the policy; a plain text is the path of the tower."
    )
    select: SelectConfig = decision(SelectConfig(), help="Which rows get counterparts, and how many.")
    fraction: float = decision(
        1.0, help="Share of the rows that get a counterpart, in (0, 1]; at least one row per class."
    )
    copies: int = decision(1, help="Counterparts per row.")
    max_attempts: int = decision(3, help="Maximum number of attempts per unit.")
    review: str | None = decision(
        None,
        help="CSV file of verdicts by a person, with columns row_id, copy, attempt, verdict (accept or reject), note.",
    )
    seed: int = attempt(0, help="Seed of every random choice.")
    image_format: Literal["jpeg", "png", "webp"] = attempt(
        "jpeg", help="Format of stored images: jpeg (quality 95, 4:4:4), png or webp (lossless)."
    )
    store_size: int | None = attempt(
        512, help="Shorter side of a stored image in pixels; images are reduced after scoring. null: not reduced."
    )
    strict: bool = attempt(
        False,
        help=(
            "Pad every device batch to 16 and fix the number of threads, so that the results are bit-identical for any "
            "division into parts and workers."
        ),
    )
    include_originals: bool = free(
        True,
        help="Publish the images of the source. false: only row ids and generated images are published.",
    )
    include_rejected: bool = free(False, help="Publish the images of rejected attempts too.")
    columns: ColumnsConfig = free(ColumnsConfig(), help="Names of the added columns.")
    max_faulty: float | None = free(
        0.2,
        help=(
            "Share of faulty attempts, in (0, 1], at which a run stops early. It is tested from 50 attempts on. An "
            "attempt is faulty if its reason is invalid, unsafe, crashed, or one that the strategy records. null: "
            "the run never stops early."
        ),
    )
    accept_license: str | None = free(
        None,
        help=(
            "Licences that you have read and accept, with commas between them, for example creativeml-openrail-m. A "
            "run asks for the licences of the source, the model and its adapters that forbid commercial use or also "
            "cover derived works."
        ),
    )
    output: str | None = free(None, help="The output folder. Default: out/<last part of source.path>.")
    limit: int | None = free(
        None, help="Number of units to process. The same command without limit processes the rest."
    )
    batch_size: int | None = free(None, help="Images per device batch. null: chosen automatically.")
    part_size: int | None = free(
        None, help="Attempts per part. null: a multiple of the batch size that takes about one minute."
    )

    @classmethod
    def load(cls, what: str | None = None, **keys: Any) -> Recipe:
        """Return the recipe that `what` names, with some keys changed.

        Args:
            what: a recipe file, a folder of images, the name of a shipped recipe or a Hub id. None: all keys come from
                `keys`.
            keys: keys of the recipe. The keys of a section are a mapping: `source={"split": "train"}`. `split` is short
                for `source.split`.

        Raises:
            UserError: a key or value is wrong; the message has the dotted key, its value and a remedy.
        """
        from diffcore_hf.config.augment_schema import build_recipe
        from diffcore_hf.config.layers import keywords_layer, positional_layer

        return build_recipe(positional_layer(what) if what is not None else {}, keywords_layer(**keys))
