"""The recipe: everything that decides the result, as frozen dataclasses.

Owns the fields, their defaults and what each changes (its scope). The rules are validation.py and rules.py; reading
files and merging layers is layers.py; the digests over the fields are digests.py. Imports neither datasets nor torch.

Every field is declared with one of three scopes:
    attempt    changes what an attempt is; another value refuses an output folder made with the old one
    decision   changes what is wanted or kept; a folder may be continued under another value
    free       changes neither
"""

# ruff: noqa: RUF009 (attempt, decision and free make fields)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diffcore_hf.config.fields import attempt, decision, free


@dataclass(frozen=True)
class SourceConfig:
    """The image-classification dataset to augment."""

    path: str = attempt(help="A Hub id, a folder of images (one sub-folder a class) or of Parquet files.")
    name: str | None = attempt(None, help="Configuration of the dataset, where it has several.")
    data_files: str | None = attempt(None, help="Pattern of the files to read inside `path`.")
    revision: str | None = attempt(
        None, help="Branch, tag or commit of a Hub dataset; resolved to a commit, which is recorded."
    )
    split: str = attempt(
        "train", help="The split whose rows get counterparts; the others are passed through untouched."
    )
    image: str = attempt("image", help="Column of the images.")
    label: str = attempt("label", help="Column of the labels: ClassLabel, string or integer.")
    label_names: Literal["clean", "raw"] | dict[str, str] = attempt(
        "clean",
        help=(
            "How a class is called in prompts: cleaned of numbering and underscores, as it is, or by a map old -> new."
        ),
    )
    holdout: float = attempt(
        0.0,
        help=(
            "Seeded share of each class, in [0, 1), never planned and never a reference; exported as split validation."
        ),
    )


@dataclass(frozen=True)
class PromptsConfig:
    """What the model is asked to draw, and what to keep away from (the two prompts of Eq. 4)."""

    template: str = attempt(
        "caption",
        help=("`caption`, `paper`, or a text with {label}, {kind}, {context} and any string column of the source."),
    )
    contexts: tuple[str, ...] | None = attempt(
        None,
        help=(
            "Contexts that a class's counterparts go through in turn; \"\" is the dataset's own look. null: the"
            " kind's own."
        ),
    )
    negatives: tuple[str, ...] | None = attempt(
        None, help="Terms of the negative prompt; [] for none. null: the kind's own."
    )
    label_descriptions: dict[str, str] | None = attempt(
        None, help=("More words for classes whose name is ambiguous: name -> what stands in the prompt in its place.")
    )


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA adapter on top of the model."""

    path: str = attempt(help="Repo id, folder or safetensors file.")
    weight_name: str | None = attempt(None, help="File inside `path`, where there are several.")
    revision: str | None = attempt(None, help="Branch, tag or commit of a repo id.")
    scale: float = attempt(1.0, help="How strongly it acts.")


@dataclass(frozen=True)
class SchedulerConfig:
    """Another noise scheduler than the model's own."""

    name: str = attempt(help="Class name in diffusers, for example DPMSolverMultistepScheduler.")
    options: dict[str, Any] | None = attempt(
        None, help="Options that replace those of the model's scheduler configuration."
    )


@dataclass(frozen=True)
class ModelConfig:
    """The text-to-image model and how it is run."""

    path: str = attempt(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        help="Hub id, local folder, safetensors file, or `package:<module>/<folder>` for package data.",
    )
    revision: str | None = attempt(None, help="Branch, tag or commit; resolved to a commit, which is recorded.")
    variant: str | None = attempt(
        "auto",
        help=(
            "Weight files to prefer, such as fp16; auto takes fp16 where the precision is fp16 and the "
            "repository has it."
        ),
    )
    family_preset: Literal["cosxl"] | None = attempt(
        None,
        help=(
            "For a single file that does not say its family; cosxl: its weights are for non-commercial research only."
        ),
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = attempt(
        "auto", help="Precision; auto is bfloat16 on a card that has it, else float16, and float32 on a CPU."
    )
    scheduler: SchedulerConfig | None = attempt(
        None, help="Another noise scheduler; a plain text is its class name. null: the model's own."
    )
    adapters: tuple[AdapterConfig, ...] = attempt((), help="LoRA adapters, added in order; a plain text is a path.")
    steps: int = attempt(30, help="Denoising steps (num_inference_steps).")
    gamma: float = attempt(
        2.0, help="Strength of the context guidance of Eq. 4; guidance_scale = 1 + gamma for SD and SDXL."
    )
    guidance: Literal["eq4", "native"] = attempt(
        "eq4",
        help=("eq4: the family is in the guidance table. native: any other; gamma is passed as its guidance_scale."),
    )
    size: int | None = attempt(None, help="Side of the generated square in pixels; null: the model's own.")
    attention: Literal["auto", "native", "slicing"] = attempt(
        "auto", help="auto and native: PyTorch's scaled_dot_product_attention. slicing: less memory, slower."
    )
    offload: Literal["auto", "none", "model", "sequential"] = free(
        "auto", help="CPU offload of idle parts; auto offloads when the card is too small for the model."
    )
    vae_slicing: Literal["auto", "on", "off"] = free(
        "auto", help="Decode the images of a batch one by one; auto: on a GPU of less than 12 GB."
    )
    device: str = free("auto", help="auto: cuda, else mps, else cpu.")


@dataclass(frozen=True)
class StrategyConfig:
    """How an image is generated from the columns of its unit."""

    name: str = attempt(
        "text_to_image",
        help=(
            "text_to_image, or `module:Class` of an installed module, a subclass of "
            "diffcore_hf.generation.base.Strategy."
        ),
    )
    options: dict[str, Any] | None = attempt(None, help="Parameters of the strategy.")


@dataclass(frozen=True)
class PolicyConfig:
    """Which generated images are kept. A parameter that the named policy does not read is an error when given."""

    name: Literal["all", "random", "mean", "fixed", "quantile", "rank"] = decision(
        "rank",
        help=("all and random(p): controls. mean: Eq. 5. fixed(t). quantile(alpha) and rank(by, alpha): conformal."),
    )
    by: Literal["class_mean", "classifier", "context_free", "text"] | None = decision(
        None,
        help=(
            "rank: who orders the classes; context_free is the classifier without what contexts look like. "
            "Default: that."
        ),
    )
    alpha: float | None = decision(
        None, help="quantile, rank: the share of real images that may be rejected, in (0, 1). Default: 0.1."
    )
    t: float | None = decision(None, help="fixed: the least cosine similarity to the row's own image, in [-1, 1].")
    p: float | None = decision(None, help="random: the share that is kept, in [0, 1]. Default: 0.5.")
    pairs: int | None = decision(None, help="mean: sample so many pairs a class, as the paper does, in place of all.")
    floor: Literal["auto", "on", "off"] | None = decision(
        None,
        help=(
            "rank: also require the similarity to the class mean that 99 % of real images reach. auto: below "
            "20 classes."
        ),
    )


# What each policy reads, with its defaults.
POLICY_PARAMETERS: dict[str, dict[str, Any]] = {
    "all": {},
    "random": {"p": 0.5},
    "mean": {"pairs": None},
    "fixed": {"t": None},
    "quantile": {"alpha": 0.1},
    "rank": {"by": "context_free", "alpha": 0.1, "floor": "auto"},
}


def policy_parameters(policy: PolicyConfig) -> dict[str, Any]:
    """The parameters that the named policy reads, defaults filled in."""
    given = {name: getattr(policy, name) for name in POLICY_PARAMETERS[policy.name]}
    return {name: default if given[name] is None else given[name]
            for name, default in POLICY_PARAMETERS[policy.name].items()}  # fmt: skip


@dataclass(frozen=True)
class FilterConfig:
    """The image tower that scores, and the rule that decides."""

    path: str = attempt(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        help=(
            "Hub id, local folder or `package:` path of any image tower that transformers loads (CLIP, SigLIP, DINOv2)."
        ),
    )
    revision: str | None = attempt(None, help="Branch, tag or commit; resolved to a commit, which is recorded.")
    policy: PolicyConfig = decision(PolicyConfig(), help="The rule; a plain text is its name.")
    references: int = decision(
        200, help="Real images a class from which statistics and thresholds are taken (a seeded draw)."
    )
    checks: tuple[str, ...] = decision(
        (), help="Checks of your own, which run after the built-in ones; each is named module:NAME."
    )


@dataclass(frozen=True)
class ColumnsConfig:
    """Names of the added columns."""

    prefix: str = free("", help="Stands before every added column, where the source has a column of that name.")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of an augmentation."""

    source: SourceConfig = attempt(help="The dataset; a plain text is its path.")
    preset: Literal["paper"] | None = free(
        None, help="paper: policy mean, the paper's template and first context, gamma 6.5, size 512, 50 steps."
    )
    kind: str = attempt(
        "general",
        help=(
            "Kind of object, which picks contexts and negatives: bird, car, flower, aircraft, clothing, food,"
            " general, ..."
        ),
    )
    prompts: PromptsConfig = attempt(PromptsConfig(), help="What is asked for.")
    model: ModelConfig = attempt(ModelConfig(), help="Who draws; a plain text is its path.")
    strategy: StrategyConfig = attempt(
        StrategyConfig(), help="How an image is generated; a plain text is the name of the strategy."
    )
    filter: FilterConfig = attempt(FilterConfig(), help="Who judges; a plain text is its path.")
    fraction: float = decision(1.0, help="Share of the rows that get a counterpart, in (0, 1]; at least one a class.")
    copies: int = decision(1, help="Counterparts a row.")
    max_attempts: int = decision(3, help="Attempts a unit before it is exhausted.")
    review: str | None = decision(
        None, help="A CSV of a person's verdicts: row_id, copy, attempt, accept or reject, note."
    )
    seed: int = attempt(0, help="Every random choice follows from it.")
    image_format: Literal["jpeg", "png", "webp"] = attempt(
        "jpeg", help="How generated images are stored: jpeg (quality 95, 4:4:4), png or webp (lossless)."
    )
    store_size: int | None = attempt(
        512, help="Shorter side of the stored image, reduced after scoring; null keeps all pixels."
    )
    strict: bool = attempt(
        False, help="Pads every device batch to 16 and fixes threads: equal bits whatever the parts and workers."
    )
    include_originals: bool = free(
        True, help="Publish the source's images; false leaves every column of images empty and keeps the ids."
    )
    include_rejected: bool = free(False, help="Publish the images of rejected attempts too.")
    columns: ColumnsConfig = free(ColumnsConfig(), help="Names of the added columns.")
    output: str | None = free(None, help="The output folder. Default: out/<last part of source.path>.")
    limit: int | None = free(
        None, help=("A first look: so many units of the drawing order; running again without it goes on from there.")
    )
    batch_size: int | None = free(None, help="Images a device batch; null: found automatically.")
    part_size: int | None = free(
        None, help="Attempts a part; null: about a minute of measured work, a multiple of the batch."
    )

    @classmethod
    def load(cls, what: str | None = None, **keys: Any) -> Recipe:
        """The recipe of a file, a shipped recipe's name, a folder or a Hub id, with some keys changed.

        Args:
            what: as WHAT of the command line; None: keys alone.
            keys: the recipe's keys; `split` is short for `source.split`, sections are mappings.

        Raises:
            UserError: one line with the dotted key, its value and the way out.
        """
        from diffcore_hf.config.augment_schema import build_recipe
        from diffcore_hf.config.layers import keywords_layer, what_layer

        return build_recipe(what_layer(what) if what is not None else {}, keywords_layer(**keys))
