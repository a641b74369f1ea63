"""The commands of both programs: purpose, arguments, options and examples, and the text of `diffcore-hf --help`.

The module `parser.py` reads argv with these definitions. The package `workflows` does the work of a command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from diffcore_hf.commands.export import ExportOptions
from diffcore_hf.commands.picture_options import ExplainOptions, PreviewOptions
from diffcore_hf.commands.run_options import AugmentOptions, MergeOptions, PlanOptions, SlurmOptions
from diffcore_hf.config.augment_schema import AUGMENT_SCHEMA
from diffcore_hf.config.fields import Key, RecipeSchema, documented_keys, option
from diffcore_hf.config.train_schema import TRAIN_SCHEMA

OVERVIEW = """\
usage: diffcore-hf COMMAND WHAT [--key value ...]

Adds a generated, checked counterpart to the images of an image-classification dataset.

  plan       WHAT   show units, prompts and disk space before a run; loads no model
  augment    WHAT   generate, check and write the dataset; run it again to resume
  status     OUT    show rounds, rows, workers and time left of a run, while it runs
  preview    OUT    draw a contact sheet and histograms of a run, or a training batch of any arm
  describe   OUT    compare the kept images with the real ones: diversity, coverage, copies
  explain    TRAINING   draw heat maps of the regions that trained models use; compare them with object masks
  export     OUT    write another dataset from the same attempts, without a model
  push       OUT REPO             publish a folder as a version on the Hub: one commit, one tag
  versions   REPO                 list the versions
  diff       REPO OLD NEW         compare two versions, or a version and a folder
  verify     OUT | REPO@VERSION   check every file, hash, count and score
  merge      OUT OTHER ...        unite the facts of machines without a shared disk, and export
  slurm      OUT    print the script of a Slurm job array for a run
  clean      OUT    delete the files that are only needed to resume
  miniature  DIR    render the small example dataset of the package

WHAT is a recipe file, a folder of images (one sub-folder per class), the name of a shipped recipe or a Hub id.

examples:
  diffcore-hf plan cub
  diffcore-hf augment ./photos --kind general --output out/photos --limit 100
  diffcore-hf augment org/dataset --kind bird --model.gamma 3 --fraction 0.5
  diffcore-hf export out/photos --output out/photos-all --filter.policy.name all
  diffcore-hf push out/photos org/photos-diffcore --version v1.0.0

diffcore-hf COMMAND --help shows every flag of a command.
"""


@dataclass(frozen=True)
class StatusOptions:
    """Show rounds, rows, workers and time left of a run, from any machine that sees its folder. Loads no model."""

    watch: bool = option(False, help="Show the state every 2 seconds until the run is finished.")


@dataclass(frozen=True)
class DescribeOptions:
    """Compare the kept images of a dataset with its real images, from their embeddings. Loads no model."""

    tower: str | None = option(
        None,
        help=(
            "Another image encoder (Hub id or folder) for the embeddings. Use it for an independent comparison, "
            "because the images were selected with the encoder of the filter. null: the stored embeddings."
        ),
    )
    json: str | None = option(
        None, help="JSON file for all figures. An existing file is overwritten only if it is such a description."
    )


@dataclass(frozen=True)
class PushOptions:
    """Publish a finished folder as one version: one verified and tagged commit. It is safe to run again."""

    version: str = option(
        help="Semantic version, such as v1.0.0. It becomes the tag. A published version never changes.",
        example="v1.0.0",
    )
    public: bool = option(False, help="Make a new repository public. The default is a private repository.")
    originals_are_mine: bool = option(
        False,
        help=(
            "Declare that the original images may be public. This is needed if their source does not state it. The "
            "card repeats your declaration."
        ),
    )
    compare: str | None = option(
        None,
        help=(
            "Result of a training on this dataset (compare.json), which the card then shows. null: the file in the "
            "folder, if it exists."
        ),
    )
    create_pr: bool = option(
        False, help="Propose the version in a pull request. Push again after the merge to set the tag."
    )
    dry_run: bool = option(False, help="Show the changes and send nothing.")
    sign: str | None = option(
        None, help="SSH key that signs the version, with ssh-keygen. null: the signature in the folder, if it exists."
    )


@dataclass(frozen=True)
class VersionsOptions:
    """List the versions of a dataset with their rows, counterparts and recipe digests."""


@dataclass(frozen=True)
class DiffOptions:
    """Show the changes from one version to another: rows, counterparts, keys of the recipe."""


@dataclass(frozen=True)
class VerifyOptions:
    """Check everything that a folder or a version publishes: files, tables and card.

    - Each file must have the recorded size, hash and number of rows. Links, and files that diffcore-hf
      did not write, are reported.
    - In the tables, ids, labels, prompts, seeds, scores, bounds, reasons, statuses and counts are computed again.
    - The card is rendered again. Edits of free sections and metadata are printed as notes and are not faults.
    - In a folder, each image must have its recorded hash.
    """

    signer: str | None = option(
        None,
        help=(
            "File of signers, as `allowed_signers` of SSH: a name and a public key in each line. One of them must have "
            "signed the dataset. null: signatures are not checked."
        ),
    )
    rescore: int | None = option(
        None, help="Number of attempts whose images are embedded again, with their real images. null: none."
    )
    regenerate: int | None = option(
        None,
        help="Number of attempts that are generated again, in the folder of a run. null: none.",
    )


@dataclass(frozen=True)
class CleanOptions:
    """Delete the parts of a finished run and the images of rejected attempts. The run can then not be resumed."""


@dataclass(frozen=True)
class MiniatureOptions:
    """Render the dataset of the miniature world (train, validation, test) as Parquet files into DIR."""

    seed: int = option(0, help="Seed of the renderer.")
    contexts: Literal["own", "shared"] = option(
        "own", help="own: each species has two contexts of its own. shared: all species have the same two contexts."
    )


@dataclass(frozen=True)
class Verb:
    """Definition of one command, such as `augment`."""

    name: str
    options: type
    target: str | None
    """Name of the positional argument; None if there is none."""
    target_help: str
    """Describes the target."""
    examples: tuple[str, ...]
    """Command lines without `program`."""
    takes: Callable[[str, str], bool] = lambda key, scope: False
    """Function of (key of the recipe, scope of the key) that returns whether the key is a flag of this command."""
    schema: RecipeSchema = AUGMENT_SCHEMA
    """Schema of the recipe whose keys are flags."""
    program: str = "diffcore-hf"
    """Text before the name of the command in a command line."""
    more: tuple[tuple[str, str], ...] = ()
    """Name and description of each argument after the target."""
    repeats: bool = False
    """Whether the last argument may be given several times."""

    @property
    def prog(self) -> str:
        """Start of the command lines of this command."""
        return f"{self.program} {self.name}"

    def flags(self) -> tuple[dict[str, Key], dict[str, Key]]:
        """Return the options of the command and the keys of the recipe that are its flags.

        An option hides a key of the same name.
        """
        own = documented_keys(self.options)
        keys = documented_keys(self.schema.recipe)
        return own, {
            name: key for name, key in keys.items() if name not in own and self.takes(name, key.scope or "free")
        }


_WHAT = "A recipe file, a folder of images, the name of a shipped recipe or a Hub id."
_BATCH_KEYS = {"data", "model", "mix", "mixer", "transform", "arms", "seeds", "batch_size", "device"}
"""Sections and keys of a training recipe that change a training batch."""
_EXPORT_KEYS = {"include_originals", "include_rejected", "columns.prefix"}
VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "plan",
            PlanOptions,
            "WHAT",
            _WHAT,
            (
                "plan cub",
                "plan ./photos --kind general",
                "plan ./photos --report report.json",
                "plan cub --fetch",
                "plan cub --lint",
                "plan ./photos --leaks --report report.json",
            ),
            takes=lambda key, scope: True,
        ),
        Verb(
            "augment",
            AugmentOptions,
            "WHAT",
            _WHAT,
            (
                "augment miniature",
                "augment ./photos --kind general --output out/photos --limit 100",
                "augment org/dataset --kind bird --source.split train --fraction 0.5",
                'augment cub --prompts.contexts "in heavy snow" "at sunset" --model.gamma 3',
            ),
            takes=lambda key, scope: True,
        ),
        Verb("status", StatusOptions, "OUT", "The folder of a run.", ("status out/cub", "status out/cub --watch")),
        Verb(
            "preview",
            PreviewOptions,
            "OUT",
            "The folder of a run.",
            (
                "preview out/cub",
                "preview out/cub --samples 20",
                "preview out/cub --mixed",
                "preview out/cub --batch plain,cutmix,mix",
                "preview out/cub --batch puzzlemix --config cub-train --model.pretrained false",
            ),
            takes=lambda key, scope: key.partition(".")[0] in _BATCH_KEYS,
            schema=TRAIN_SCHEMA,
        ),
        Verb(
            "describe",
            DescribeOptions,
            "OUT",
            "The folder of a run or an export.",
            ("describe out/cub", "describe out/cub --json cub.json", "describe out/cub --tower facebook/dinov2-small"),
        ),
        Verb(
            "explain",
            ExplainOptions,
            "TRAINING",
            "The output folder of a finished training or comparison.",
            (
                "explain out/train/gain",
                "explain out/train/gain --arms plain,mix --seed 3",
                "explain out/train/cub --mask segmentation",
            ),
            takes=lambda key, scope: key.startswith("data.") or key == "device",
            schema=TRAIN_SCHEMA,
        ),
        Verb(
            "export",
            ExportOptions,
            "OUT",
            "The folder of a run.",
            (
                "export out/cub --output out/cub-all --filter.policy.name all",
                "export out/cub --output out/cub-rows --layout rows --fraction 0.5",
                "export out/cub --output out/cub-mixed --layout mixed",
                "export out/cub --c2pa out/cub-signed --c2pa_certificate chain.pem --c2pa_key key.pem",
            ),
            takes=lambda key, scope: scope == "decision" or key in _EXPORT_KEYS,
        ),
        Verb(
            "push",
            PushOptions,
            "OUT",
            "The folder of a run or an export.",
            (
                "push out/cub org/cub-diffcore --version v1.0.0",
                "push out/cub org/cub-diffcore --version v1.1.0 --dry-run",
                "push out/cub org/cub-diffcore --version v1.0.0 --public",
            ),
            more=(("REPO", "Owner and name of the dataset on the Hub."),),
        ),
        Verb(
            "versions",
            VersionsOptions,
            "REPO",
            "Owner and name of a dataset on the Hub.",
            ("versions org/cub-diffcore",),
        ),
        Verb(
            "diff",
            DiffOptions,
            "REPO",
            "Owner and name of a dataset on the Hub.",
            ("diff org/cub-diffcore v1.0.0 v1.1.0", "diff org/cub-diffcore v1.0.0 out/cub"),
            more=(("OLD", "A version of the dataset."), ("NEW", "Another version, or a local folder.")),
        ),
        Verb(
            "verify",
            VerifyOptions,
            "OUT",
            "A folder, or REPO@VERSION. REPO alone is its newest version.",
            ("verify out/cub", "verify org/cub-diffcore@v1.0.0", "verify out/cub --signer signers --rescore 50"),
        ),
        Verb(
            "merge",
            MergeOptions,
            "OUT",
            "The folder of a run, or a new folder.",
            ("merge out/cub machine1/cub machine2/cub",),
            more=(("OTHER", "The folder of a run with the same settings."),),
            repeats=True,
        ),
        Verb(
            "slurm",
            SlurmOptions,
            "OUT",
            "The folder of a run, or a folder of plan --prepare.",
            ("slurm out/cub", "slurm out/cub --tasks 100 --at_once 16 --hours 8"),
        ),
        Verb("clean", CleanOptions, "OUT", "The folder of a finished run.", ("clean out/cub",)),
        Verb("miniature", MiniatureOptions, "DIR", "The folder to write.", ("miniature out/birds",)),
    )
}


@dataclass(frozen=True)
class TrainOptions:
    """Train a network on an augmented dataset with mixed real and generated images, and compare it with other arms."""

    config: str | None = option(
        None, help="A recipe file or the name of a shipped training recipe (miniature-train, ...)."
    )
    evaluate: str | None = option(
        None, help="Folder of a trained model (.../best). The model is scored on the test split without training."
    )


TRAIN = Verb(
    "recipes/train.py",
    TrainOptions,
    None,
    "",
    (
        "recipes/train.py --config miniature-train",
        "recipes/train.py --data.path out/photos --model resnet50 --epochs 10",
        "--num_processes 8 recipes/train.py --config cub-train --compare plain,genaug,mix --seeds 0,1,2",
        "recipes/train.py --data.path out/photos --compare plain,mixup,cutmix,puzzlemix --seeds 0,1,2",
        "-m diffcore_hf.training --config recipe.yaml --mix.partner class",
    ),
    takes=lambda key, scope: True,
    schema=TRAIN_SCHEMA,
    program="accelerate launch",
)
