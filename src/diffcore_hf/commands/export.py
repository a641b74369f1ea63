"""The command export: its options, and the text that it prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from diffcore_hf.config.fields import option
from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from diffcore_hf.commands.parser import Command


@dataclass(frozen=True)
class ExportOptions:
    """Write another dataset from the attempts of OUT, with another policy, fraction or layout. Loads no model.

    With --c2pa, write signed copies of the kept images instead of a dataset.
    """

    output: str | None = option(None, help="The folder of the dataset to write; not OUT itself.", example="out/new")
    layout: Literal["columns", "rows", "mixed"] = option(
        "columns",
        help=(
            "columns: the counterpart in a column of its row. rows: real and generated images in separate rows. mixed: "
            "the real rows, then one row with the mixed image per counterpart."
        ),
    )
    sign: str | None = option(None, help="SSH key that signs the dataset, with ssh-keygen. null: no signature.")
    c2pa: str | None = option(
        None,
        help=(
            "New folder for copies of the kept images with signed C2PA manifests, in place of --output. Needs "
            "pip install 'diffcore-hf[c2pa]'."
        ),
        example="out/signed",
    )
    c2pa_certificate: str | None = option(
        None,
        help="PEM file with the certificate of the key, followed by the certificates of its issuers.",
        example="chain.pem",
    )
    c2pa_key: str | None = option(
        None, help="PEM file with the private key, in the form PKCS#8 and without a passphrase.", example="key.pem"
    )


def export(command: Command) -> int:
    """Run the command and print its result."""
    options = command.options
    output, folder = options["output"], options["c2pa"]
    if folder is not None:
        return _export_signed(command)
    for name in ("c2pa_certificate", "c2pa_key"):
        if options[name] is not None:
            raise UserError(f"--{name} is only for signed images. Add --c2pa FOLDER, or leave --{name} out")
    if output is None:
        raise UserError("--output is missing. Add --output FOLDER for a dataset, or --c2pa FOLDER for signed images")
    from diffcore_hf.augmentation import summary
    from diffcore_hf.workflows.export import export

    result = export(command.target, output, command.layer, options["layout"], options["sign"])
    print(summary.text(result.summary, seconds=result.seconds, images=0))
    if pending := result.summary.counts["pending"]:
        print(
            f"\n{pending:,} units need more attempts for this recipe. To generate them, run `diffcore-hf augment` "
            f"for the folder {str(command.target)!r} again, with the recipe keys that you gave to export"
        )
    print(f"\nthe exported dataset is in {str(result.folder.path)!r}")
    return 0


def _export_signed(command: Command) -> int:
    """Write signed images and print their number."""
    options = command.options
    for name, default in (("output", None), ("sign", None), ("layout", "columns")):
        if options[name] != default:
            raise UserError(
                f"--{name} is for a dataset, but --c2pa writes signed images and no dataset. Run export twice, once "
                f"without --c2pa and once without --{name}"
            )
    for name in ("include_originals", "include_rejected", "columns"):
        if name in command.layer:
            raise UserError(f"--{name} is for a dataset and has no effect on signed images. Leave it out with --c2pa")
    from diffcore_hf.workflows.signed_images import export_signed

    folder = options["c2pa"]
    count = export_signed(command.target, folder, command.layer, options["c2pa_certificate"], options["c2pa_key"])
    print(
        f"{folder!r} has {count:,} images with signed manifests. Each file is named by its image_sha256 in "
        "configuration attempts"
    )
    print("Programs that do not know the issuer of your certificate report the signer as untrusted")
    return 0
